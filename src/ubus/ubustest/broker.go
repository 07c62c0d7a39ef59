// Package ubustest has a small ubusd for tests, on machines where there is none.
// It answers as ubusd does in everything a client can see; what it has no notion
// of is ACL files: its own user and root may do all, everybody else what ubusd
// allows without any ACL, which is next to nothing.
package ubustest

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"

	"homeconf/src/ubus/internal/frame"
)

// maxQueue is what the broker keeps for a client that does not read; the rest is
// dropped.
const maxQueue = 1 << 20

// Broker is a running server.
type Broker struct {
	ln   *net.UnixListener
	done sync.WaitGroup

	mu       sync.Mutex
	clients  map[uint32]*client
	objects  map[uint32]*object
	paths    map[string]*object
	types    map[uint32]*objectType
	patterns []*pattern
	monitors []*monitor
	eventSeq uint16
	closed   bool
}

// client is a connection.
type client struct {
	b           *Broker
	nc          *net.UnixConn
	id          uint32
	uid         uint32
	user, group string
	objects     []*object // newest first

	// What waits to be written, under the broker's lock.
	out    [][]byte
	queued int
	wake   *sync.Cond
	gone   bool
}

// Start listens on a unix socket.
func Start(path string) (*Broker, error) {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("ubus broker: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil { // as ubusd's: rights are its own matter
		ln.Close()
		return nil, fmt.Errorf("ubus broker: %w", err)
	}
	b := &Broker{ln: ln, clients: map[uint32]*client{}, objects: map[uint32]*object{}, paths: map[string]*object{},
		types: map[uint32]*objectType{}}
	b.done.Add(1)
	go b.accept()
	return b, nil
}

// Stop closes all connections and removes the socket, as when ubusd ends.
func (b *Broker) Stop() {
	b.ln.Close()
	b.mu.Lock()
	b.closed = true
	for _, c := range b.clients {
		c.nc.Close()
	}
	b.mu.Unlock()
	b.done.Wait()
}

func (b *Broker) accept() {
	defer b.done.Done()
	for {
		nc, err := b.ln.AcceptUnix()
		if err != nil {
			return // stopped
		}
		c := &client{b: b, nc: nc, wake: sync.NewCond(&b.mu)}
		if err := c.credentials(); err != nil {
			nc.Close()
			continue
		}
		b.mu.Lock()
		if b.closed {
			b.mu.Unlock()
			nc.Close()
			return
		}
		c.id = newID(b.clients)
		b.clients[c.id] = c
		c.send(new(frame.Writer).Begin(frame.Hello, 0, c.id))
		b.done.Add(2)
		b.mu.Unlock()
		go c.write()
		go c.read()
	}
}

// credentials takes the peer's. Who runs the broker counts as root.
func (c *client) credentials() error {
	raw, err := c.nc.SyscallConn()
	if err != nil {
		return err
	}
	var cred *syscall.Ucred
	var bad error
	if err := raw.Control(func(fd uintptr) {
		cred, bad = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if bad != nil {
		return bad
	}
	c.uid, c.user, c.group = cred.Uid, "nobody", "nogroup"
	if cred.Uid == 0 || int(cred.Uid) == os.Getuid() {
		c.uid, c.user, c.group = 0, "root", "root"
	}
	return nil
}

// newID is a random number that nobody has; those below 1024 are ubusd's own.
func newID[T any](taken map[uint32]T) uint32 {
	for {
		id := rand.Uint32()
		if _, used := taken[id]; id >= 1024 && !used {
			return id
		}
	}
}

// send queues a message, or drops it where too much waits.
func (c *client) send(w *frame.Writer) {
	raw, _ := w.Bytes()
	c.sendRaw(raw)
}

func (c *client) sendRaw(raw []byte) {
	if frame.Type(raw[1]) != frame.Monitor {
		c.b.watch(c, raw, true)
	}
	if c.gone || c.queued+len(raw) > maxQueue && c.queued > 0 {
		return
	}
	c.out = append(c.out, raw)
	c.queued += len(raw)
	c.wake.Signal()
}

func (c *client) write() {
	defer c.b.done.Done()
	for {
		c.b.mu.Lock()
		for len(c.out) == 0 && !c.gone {
			c.wake.Wait()
		}
		if c.gone {
			c.b.mu.Unlock()
			return
		}
		raw := c.out[0]
		c.out = c.out[1:]
		c.b.mu.Unlock()
		_, err := c.nc.Write(raw)
		c.b.mu.Lock()
		c.queued -= len(raw)
		c.b.mu.Unlock()
		if err != nil {
			c.nc.Close() // the reader cleans up
			return
		}
	}
}

func (c *client) read() {
	defer c.b.done.Done()
	r := bufio.NewReader(c.nc)
	for {
		raw := make([]byte, frame.ReadLen)
		if _, err := io.ReadFull(r, raw); err != nil {
			break
		}
		h, n, err := frame.ParseHeader(raw)
		if err != nil {
			break
		}
		raw = append(raw, make([]byte, n)...)
		if _, err := io.ReadFull(r, raw[frame.ReadLen:]); err != nil {
			break
		}
		c.b.mu.Lock()
		c.b.receive(c, raw, frame.Parse(h, raw[frame.ReadLen:]))
		c.b.mu.Unlock()
	}
	c.nc.Close()
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	c.gone = true
	c.wake.Signal()
	for len(c.objects) > 0 {
		c.b.free(c.objects[0])
	}
	c.b.unmonitor(c)
	delete(c.b.clients, c.id)
}

// withPeer is a message as it is passed on, to be sent as from another.
func withPeer(raw []byte, t frame.Type, peer uint32) []byte {
	passed := append([]byte(nil), raw...)
	passed[1] = byte(t)
	binary.BigEndian.PutUint32(passed[4:], peer)
	return passed
}
