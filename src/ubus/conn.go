package ubus

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"homeconf/src/ubus/internal/frame"
)

const (
	// helloTimeout bounds the wait for what the server says first.
	helloTimeout = 5 * time.Second
	// writeTimeout bounds a write to a server that has stopped reading; after it
	// the stream may be torn, so the connection ends.
	writeTimeout = 10 * time.Second
	// maxPending bounds the requests in flight, which 16 bits have to tell apart.
	maxPending = 1 << 15
	// maxAnswer bounds the answers to one request; a LOOKUP of everything on a
	// router is a tenth of it.
	maxAnswer = 4 << 20
)

// conn is one connection. One goroutine reads it, always, and never writes or
// waits: ubusd drops what a slow reader has not taken.
type conn struct {
	nc      net.Conn
	writing chan struct{} // holds a token while somebody writes
	done    chan struct{} // closed when the connection has ended

	mu      sync.Mutex
	id      uint32 // what the server calls us
	seq     uint16
	pending map[uint16]*request
	bound   map[uint32]receiver
	err     error // why it ended
}

// receiver is whose object it is. Its methods are called by the reader and may
// not wait.
type receiver interface {
	invoked(*conn, *frame.Message)
	active(bool)
	unsubscribed(*conn, *frame.Message)
}

// request is what waits for a STATUS, and takes DATA until then.
type request struct {
	peer   uint32           // who will answer: 0, or the object
	bind   receiver         // gets the object that the answer names
	status func(Status)     // is called by the reader, before anything that comes later
	answer []*frame.Message // what came before the STATUS
	size   int
	done   chan struct{}
	last   *frame.Message // the STATUS
}

// dialConn connects to a socket.
func dialConn(ctx context.Context, path string) (*conn, error) {
	nc, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("ubus: %w", err)
	}
	return newConn(ctx, nc)
}

// newConn waits for the server's HELLO, and then reads until the connection ends.
func newConn(ctx context.Context, nc net.Conn) (*conn, error) {
	c := &conn{nc: nc, writing: make(chan struct{}, 1), done: make(chan struct{}),
		pending: map[uint16]*request{}, bound: map[uint32]receiver{}}
	r := bufio.NewReader(nc)
	nc.SetReadDeadline(time.Now().Add(helloTimeout))
	stop := context.AfterFunc(ctx, func() { nc.SetReadDeadline(time.Now()) })
	hello, err := readMessage(r)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err == nil && hello.Type != frame.Hello {
		err = fmt.Errorf("a message of type %d instead of HELLO", hello.Type)
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("ubus: greeting: %w", err)
	}
	nc.SetReadDeadline(time.Time{})
	c.id = hello.Peer
	go func() { c.end(c.read(r)) }()
	return c, nil
}

// end ends the connection, once; all who wait for it notice.
func (c *conn) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	c.nc.Close()
	close(c.done)
}

// readMessage reads one message. The memory it takes grows with what has come,
// not with what is promised.
func readMessage(r io.Reader) (*frame.Message, error) {
	var head [frame.ReadLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	h, n, err := frame.ParseHeader(head[:])
	if err != nil {
		return nil, err
	}
	if h.Version != 0 {
		return nil, fmt.Errorf("version %d of ubus", h.Version)
	}
	const chunk = 64 << 10
	blob := make([]byte, min(n, chunk))
	for have := 0; ; {
		if _, err := io.ReadFull(r, blob[have:]); err != nil {
			return nil, fmt.Errorf("a message of %d bytes: %w", n, err)
		}
		if have = len(blob); have == n {
			return frame.Parse(h, blob), nil
		}
		blob = append(blob, make([]byte, min(n-have, have))...)
	}
}

func (c *conn) read(r io.Reader) error {
	for {
		m, err := readMessage(r)
		if err != nil {
			return err
		}
		switch m.Type {
		case frame.Data, frame.Status:
			c.answered(m)
		case frame.Invoke:
			if to := c.receiver(m); to != nil {
				to.invoked(c, m)
			}
		case frame.Notify:
			if to := c.receiver(m); to != nil && m.Has(frame.AttrActive) {
				to.active(m.Active)
			}
		case frame.Unsubscribe:
			if to := c.receiver(m); to != nil {
				to.unsubscribed(c, m)
			}
		}
	}
}

func (c *conn) receiver(m *frame.Message) receiver {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bound[m.ObjID]
}

// answered gives an answer to the request it fits. Providers may send any:
// another seq, another object, a second STATUS.
func (c *conn) answered(m *frame.Message) {
	c.mu.Lock()
	r := c.pending[m.Seq]
	if r == nil || m.Peer != r.peer {
		c.mu.Unlock()
		return
	}
	if m.Type == frame.Data {
		if r.bind != nil && m.Has(frame.AttrObjID) {
			c.bound[m.ObjID] = r.bind
		}
		if r.size += len(m.Data) + len(m.Signature) + len(m.ObjPath); r.size <= maxAnswer {
			r.answer = append(r.answer, m)
		}
		c.mu.Unlock()
		return
	}
	if !m.Has(frame.AttrStatus) {
		c.mu.Unlock()
		return
	}
	delete(c.pending, m.Seq)
	r.last = m
	c.mu.Unlock()
	if r.status != nil {
		r.status(Status(m.Status))
	}
	close(r.done)
}

// send writes messages in one piece.
func (c *conn) send(ctx context.Context, w *frame.Writer) error {
	b, ok := w.Bytes()
	if !ok {
		return ErrTooLarge
	}
	select {
	case c.writing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		return StatusConnectionFailed
	}
	defer func() { <-c.writing }()
	c.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := c.nc.Write(b)
	if err != nil {
		c.end(err)
		return StatusConnectionFailed
	}
	c.nc.SetWriteDeadline(time.Time{}) // a timer left behind would wake the process
	return nil
}

// do makes a request and waits for its STATUS.
func (c *conn) do(ctx context.Context, r *request, t frame.Type, attrs func(*frame.Writer)) error {
	if ctx.Err() != nil {
		return timeout(ctx.Err())
	}
	r.done = make(chan struct{})
	c.mu.Lock()
	if len(c.pending) >= maxPending {
		c.mu.Unlock()
		return fmt.Errorf("%d requests wait for an answer: %w", maxPending, StatusNoMemory)
	}
	for c.seq++; c.pending[c.seq] != nil; c.seq++ {
	}
	seq := c.seq
	c.pending[seq] = r
	c.mu.Unlock()

	w := new(frame.Writer).Begin(t, seq, r.peer)
	if attrs != nil {
		attrs(w)
	}
	err := c.send(ctx, w)
	if err == nil {
		select {
		case <-r.done:
			return c.outcome(r)
		case <-ctx.Done():
			err = ctx.Err()
		case <-c.done:
			err = StatusConnectionFailed
		}
	}
	c.mu.Lock()
	delete(c.pending, seq)
	c.mu.Unlock()
	select {
	case <-r.done: // it came just before what ended the wait
		return c.outcome(r)
	default:
	}
	return timeout(err)
}

// timeout makes a status of a deadline that has passed.
func timeout(err error) error {
	if err == context.DeadlineExceeded {
		return StatusTimeout
	}
	return err
}

func (c *conn) outcome(r *request) error {
	switch {
	case r.last.Status != 0:
		return Status(r.last.Status)
	case r.size > maxAnswer:
		return fmt.Errorf("an answer of %d bytes: %w", r.size, StatusNoMemory)
	}
	return nil
}

// lookup finds objects: one path, those of a prefix with a final '*', or all.
func (c *conn) lookup(ctx context.Context, pattern string) ([]ObjectInfo, error) {
	r := &request{}
	err := c.do(ctx, r, frame.Lookup, func(w *frame.Writer) {
		if pattern != "" {
			w.Text(frame.AttrObjPath, cString(pattern))
		}
	})
	if err != nil {
		return nil, err
	}
	found := make([]ObjectInfo, 0, len(r.answer))
	for _, m := range r.answer {
		if !m.Has(frame.AttrObjID) || !m.Has(frame.AttrObjPath) {
			continue
		}
		signature, err := Decode(m.Signature)
		if err != nil {
			return nil, fmt.Errorf("signature of %s: %w", m.ObjPath, err)
		}
		found = append(found, ObjectInfo{Path: m.ObjPath, ID: m.ObjID, Signature: signature})
	}
	return found, nil
}

// invoke calls a method. byServer says that it is ubusd that answered, not the
// object.
func (c *conn) invoke(ctx context.Context, id uint32, method string, args Table) (answers []Table, byServer bool, err error) {
	if args.err != nil {
		return nil, false, args.err
	}
	r := &request{peer: id}
	err = c.do(ctx, r, frame.Invoke, func(w *frame.Writer) {
		w.Uint32(frame.AttrObjID, id).Text(frame.AttrMethod, cString(method)).Blob(frame.AttrData, args.b)
	})
	byServer = r.last != nil && !r.last.Has(frame.AttrObjID)
	if r.last == nil {
		return nil, false, err
	}
	for _, m := range r.answer {
		t, bad := Decode(m.Data)
		if bad != nil {
			return answers, byServer, bad
		}
		answers = append(answers, t)
	}
	return answers, byServer, err
}

// addObject registers an object and binds it. One without a path and signature
// is for subscriptions and events.
func (c *conn) addObject(ctx context.Context, path string, signature *Table, to receiver) (uint32, error) {
	r := &request{bind: to}
	err := c.do(ctx, r, frame.AddObject, func(w *frame.Writer) {
		if path != "" {
			w.Text(frame.AttrObjPath, path)
		}
		if signature != nil {
			w.Blob(frame.AttrSignature, signature.b)
		}
	})
	if err != nil {
		return 0, err
	}
	for _, m := range r.answer {
		if m.Has(frame.AttrObjID) {
			return m.ObjID, nil
		}
	}
	return 0, fmt.Errorf("no id for a new object: %w", StatusParseError)
}

func (c *conn) removeObject(ctx context.Context, id uint32) error {
	err := c.do(ctx, &request{}, frame.RemoveObject, func(w *frame.Writer) { w.Uint32(frame.AttrObjID, id) })
	c.mu.Lock()
	delete(c.bound, id)
	c.mu.Unlock()
	return err
}

// subscribe lets an object of ours hear a target. up is called by the reader on
// success, before the first notification.
func (c *conn) subscribe(ctx context.Context, own, target uint32, up func()) error {
	r := &request{status: func(s Status) {
		if s == StatusOK {
			up()
		}
	}}
	return c.do(ctx, r, frame.Subscribe, func(w *frame.Writer) {
		w.Uint32(frame.AttrObjID, own).Uint32(frame.AttrTarget, target)
	})
}

// notify tells the subscribers of an object of ours, who give no answer.
func (c *conn) notify(ctx context.Context, id uint32, method string, data Table) error {
	c.mu.Lock()
	c.seq++
	seq := c.seq
	c.mu.Unlock()
	return c.send(ctx, new(frame.Writer).Begin(frame.Notify, seq, id).Uint32(frame.AttrObjID, id).
		Text(frame.AttrMethod, cString(method)).Blob(frame.AttrData, data.b).Flag(frame.AttrNoReply, true))
}

// reply answers an INVOKE: DATA, if there is any, and STATUS in one write.
func (c *conn) reply(m *frame.Message, data Table, status Status) error {
	w := new(frame.Writer)
	if data.b != nil {
		w.Begin(frame.Data, m.Seq, m.Peer).Uint32(frame.AttrObjID, m.ObjID).Blob(frame.AttrData, data.b)
	}
	w.Begin(frame.Status, m.Seq, m.Peer).Uint32(frame.AttrStatus, uint32(status)).Uint32(frame.AttrObjID, m.ObjID)
	return c.send(context.Background(), w)
}

// The system object that keeps the events.
const eventObject = 1

// register lets an object of ours hear events.
func (c *conn) register(ctx context.Context, own uint32, pattern string) error {
	_, _, err := c.invoke(ctx, eventObject, "register",
		new(Builder).Uint32("object", own).String("pattern", pattern).Table())
	return err
}
