package ubus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// DefaultTimeout bounds a request whose context has no deadline.
const DefaultTimeout = 30 * time.Second

// Paths are where ubusd listens: since OpenWrt 21.02, and before.
var Paths = []string{"/var/run/ubus/ubus.sock", "/var/run/ubus.sock"}

const (
	// maxKnown bounds the ids of objects that were called.
	maxKnown = 64
	// defaultCalls is how many served calls run at once.
	defaultCalls = 8
)

// Dialer has the options of a Client. The zero Dialer is ready.
type Dialer struct {
	// Path is the server's socket; "" tries Paths.
	Path string
	// MaxCalls bounds the calls of published objects that run at once, by
	// default 8. More than a thousand that wait are refused.
	MaxCalls int
	// Reconnected is called when the server was lost and everything is
	// registered again. What happened in between was not heard.
	Reconnected func()
	// OnError is told what could not be registered again (it will be tried
	// again), what was dropped because a handler is too slow, and answers that
	// could not be sent. It may be called from several goroutines, and must not
	// call Close.
	OnError func(error)
}

var errClosed = errors.New("ubus: the client is closed")

// Client is a connection to ubusd that outlives ubusd. All methods may be used
// from several goroutines. While there is no connection, requests wait for one
// as long as their context allows; a request that was sent when the connection
// was lost fails with StatusConnectionFailed, since nobody knows whether it was
// carried out.
type Client struct {
	d        Dialer
	ctx      context.Context
	cancel   context.CancelFunc
	ended    chan struct{} // closed when run has returned
	calls    queue         // served calls
	refusals queue
	told     queue // Reconnected

	registering chan struct{} // holds a token while something is registered or removed
	wishes      []wish        // in the order they were made; whoever holds the token may change it

	mu      sync.Mutex
	conn    *conn         // nil while there is none
	changed chan struct{} // closed when conn changes
	known   map[string]uint32
}

// Dial connects to ubusd at path, or where ubusd usually is when path is "".
func Dial(ctx context.Context, path string) (*Client, error) {
	return (&Dialer{Path: path}).Dial(ctx)
}

// Dial connects to ubusd.
func (d *Dialer) Dial(ctx context.Context) (*Client, error) {
	cn, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	c := &Client{d: *d, ended: make(chan struct{}), registering: make(chan struct{}, 1),
		conn: cn, changed: make(chan struct{}), known: map[string]uint32{}}
	c.calls.workers, c.refusals.workers, c.told.workers = d.MaxCalls, 1, 1
	if c.calls.workers <= 0 {
		c.calls.workers = defaultCalls
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	go c.run(cn)
	return c, nil
}

func (d *Dialer) connect(ctx context.Context) (*conn, error) {
	paths := Paths
	if d.Path != "" {
		paths = []string{d.Path}
	}
	var errs []error
	for _, path := range paths {
		cn, err := dialConn(ctx, path)
		if err == nil {
			return cn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// Close ends the connection, and with it everything that was registered. The
// contexts of calls that are being served end.
func (c *Client) Close() error {
	c.cancel()
	c.mu.Lock()
	cn := c.conn
	c.mu.Unlock()
	if cn != nil {
		cn.end(errClosed) // so that nobody waits for an answer any more
	}
	<-c.ended
	return nil
}

func (c *Client) report(err error) {
	if c.d.OnError != nil && c.ctx.Err() == nil {
		c.d.OnError(err)
	}
}

// current is the connection; it waits for one.
func (c *Client) current(ctx context.Context) (*conn, error) {
	for {
		c.mu.Lock()
		cn, changed := c.conn, c.changed
		c.mu.Unlock()
		if cn != nil {
			return cn, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", StatusConnectionFailed, ctx.Err())
		case <-c.ctx.Done():
			return nil, fmt.Errorf("%w: %w", StatusConnectionFailed, errClosed)
		}
	}
}

// within gives a context its deadline.
func within(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, DefaultTimeout)
}

// ObjectInfo is an object as Lookup finds it.
type ObjectInfo struct {
	Path string
	ID   uint32 // random, another after each registration
	// Signature has a table for each method, which has an int32 for each
	// argument: its Type.
	Signature Table
}

// Lookup finds objects: the one of that path, all whose paths have a prefix when
// pattern ends in '*', or all when it is "". Where there is none the error is
// StatusNotFound. Objects that this process may not use are left out silently,
// and so are those without a signature.
func (c *Client) Lookup(ctx context.Context, pattern string) ([]ObjectInfo, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	cn, err := c.current(ctx)
	if err != nil {
		return nil, fmt.Errorf("ubus list %s: %w", pattern, err)
	}
	found, err := cn.lookup(ctx, pattern)
	if err != nil {
		return nil, fmt.Errorf("ubus list %s: %w", pattern, err)
	}
	return found, nil
}

// Call calls a method of the object at path. The table is empty when the method
// returned none, and the last one when it returned several. A Status in the
// error is the method's or the server's; a table may come with it.
func (c *Client) Call(ctx context.Context, path, method string, args Table) (Table, error) {
	answers, err := c.CallAll(ctx, path, method, args)
	if len(answers) == 0 {
		return Table{}, err
	}
	return answers[len(answers)-1], err
}

// CallAll is Call for a method that returns several tables.
func (c *Client) CallAll(ctx context.Context, path, method string, args Table) ([]Table, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	if path == "" {
		return nil, fmt.Errorf("ubus call of %s without an object: %w", method, StatusInvalidArgument)
	}
	for {
		cn, err := c.current(ctx)
		var id uint32
		var known, byServer bool
		if err == nil {
			id, known, err = c.resolve(ctx, cn, path)
		}
		var answers []Table
		if err == nil {
			answers, byServer, err = cn.invoke(ctx, id, method, args)
		}
		switch {
		case err == nil:
			return answers, nil
		case err == StatusNotFound && byServer && known:
			// The object was registered anew, under another id.
			c.forget(path, id)
			continue
		}
		return answers, fmt.Errorf("ubus call %s %s: %w", path, method, err)
	}
}

// resolve finds an object's id, and says whether it was known from before.
func (c *Client) resolve(ctx context.Context, cn *conn, path string) (id uint32, known bool, err error) {
	c.mu.Lock()
	id, known = c.known[path]
	known = known && c.conn == cn
	c.mu.Unlock()
	if known {
		return id, true, nil
	}
	found, err := cn.lookup(ctx, path)
	if err != nil {
		return 0, false, err
	}
	if len(found) != 1 || found[0].Path != path {
		return 0, false, StatusNotFound
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == cn {
		if len(c.known) >= maxKnown {
			clear(c.known)
		}
		c.known[path] = found[0].ID
	}
	return found[0].ID, false, nil
}

func (c *Client) forget(path string, id uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known[path] == id {
		delete(c.known, path)
	}
}

// Send sends an event to all who listen, this client not among them.
func (c *Client) Send(ctx context.Context, event string, data Table) error {
	ctx, cancel := within(ctx)
	defer cancel()
	cn, err := c.current(ctx)
	if err == nil {
		_, _, err = cn.invoke(ctx, eventObject, "send", new(Builder).String("id", event).Put("data", data).Table())
	}
	if err != nil {
		return fmt.Errorf("ubus send %s: %w", event, err)
	}
	return nil
}
