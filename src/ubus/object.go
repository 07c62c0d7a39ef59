package ubus

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"homeconf/src/ubus/internal/frame"
)

// Object is an object to publish.
type Object struct {
	Path    string
	Methods []Method
	// Subscribed, if there is one, is told when the first subscriber has come
	// and when the last has gone.
	Subscribed func(bool)
}

// Method is a method of an Object.
type Method struct {
	Name   string
	Params []Param
	// Handle serves a call; calls are served side by side. The zero Table is
	// not sent. An error is answered by its StatusOf, with the table
	// before it if there is one: ubus itself carries no message. The context
	// ends when the client is closed.
	Handle func(context.Context, *Request) (Table, error)
}

// Param is an argument as the signature names it. Callers may leave it out, give
// another type, or add arguments that no signature has, as rpcd and uhttpd do
// with ubus_rpc_session: nobody but the method looks.
type Param struct {
	Name string
	Type Type
}

// Request is a call that is being served.
type Request struct {
	Method string
	Args   Table
	// User and Group are the caller's, as ubusd found them.
	User, Group string
}

// Published is an object that callers find. It stays published when ubusd
// restarts, until Remove.
type Published struct {
	c         *Client
	o         Object
	signature Table
	methods   map[string]*Method
	told      queue // Subscribed
	listened  atomic.Bool

	mu   sync.Mutex
	conn *conn // where it is registered, nil where it is not
	id   uint32
}

// AddObject publishes an object. Where the path is taken or not allowed to this
// process, ubusd answers StatusInvalidArgument.
func (c *Client) AddObject(ctx context.Context, o Object) (*Published, error) {
	p := &Published{c: c, o: o, methods: map[string]*Method{}, told: queue{workers: 1}}
	if o.Path == "" || cString(o.Path) != o.Path {
		return nil, fmt.Errorf("ubus: %q is no object's path: %w", o.Path, StatusInvalidArgument)
	}
	var b Builder
	for i := range o.Methods {
		m := &o.Methods[i]
		if m.Name == "" || m.Handle == nil || p.methods[m.Name] != nil {
			return nil, fmt.Errorf("ubus: method %d of %s has no name, a used one or no handler: %w", i, o.Path,
				StatusInvalidArgument)
		}
		p.methods[m.Name] = m
		b.OpenTable(m.Name)
		for _, a := range m.Params {
			if a.Name == "" {
				return nil, fmt.Errorf("ubus: an argument of %s %s has no name: %w", o.Path, m.Name,
					StatusInvalidArgument)
			}
			b.Int32(a.Name, int32(a.Type))
		}
		b.Close()
	}
	if p.signature = b.Table(); p.signature.err != nil {
		return nil, fmt.Errorf("ubus: signature of %s: %w", o.Path, p.signature.err)
	}
	if err := c.add(ctx, p); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Published) register(ctx context.Context, cn *conn) error {
	p.mu.Lock()
	done := p.conn == cn
	p.mu.Unlock()
	if done {
		return nil
	}
	id, err := cn.addObject(ctx, p.o.Path, &p.signature, p)
	if err != nil {
		return fmt.Errorf("ubus: publish %s: %w", p.o.Path, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conn, p.id = cn, id
	return nil
}

func (p *Published) lost() {
	p.mu.Lock()
	p.conn = nil
	p.mu.Unlock()
	p.active(false)
}

// Remove takes the object back.
func (p *Published) Remove(ctx context.Context) error {
	return p.c.remove(ctx, p, func(ctx context.Context, cn *conn) error {
		p.mu.Lock()
		registered, id := p.conn == cn, p.id
		p.conn = nil
		p.mu.Unlock()
		if !registered {
			return nil
		}
		if err := cn.removeObject(ctx, id); err != nil {
			return fmt.Errorf("ubus: remove %s: %w", p.o.Path, err)
		}
		return nil
	})
}

// Subscribed says whether anybody hears the object's notifications.
func (p *Published) Subscribed() bool { return p.listened.Load() }

// Notify tells all subscribers, who give no answer. It does not wait for a
// connection: without one nobody is subscribed.
func (p *Published) Notify(ctx context.Context, method string, data Table) error {
	if data.err != nil {
		return fmt.Errorf("ubus: notify %s: %w", method, data.err)
	}
	p.mu.Lock()
	cn, id := p.conn, p.id
	p.mu.Unlock()
	if cn == nil {
		return fmt.Errorf("ubus: notify %s: %w", method, StatusConnectionFailed)
	}
	ctx, cancel := within(ctx)
	defer cancel()
	if err := cn.notify(ctx, id, method, data); err != nil {
		return fmt.Errorf("ubus: notify %s: %w", method, err)
	}
	return nil
}

func (p *Published) invoked(cn *conn, m *frame.Message) {
	if !p.c.calls.put(len(m.Data), func() { p.serve(cn, m) }) {
		// The reader must not write. Beyond what may wait here, too, the caller
		// is left to its time-out.
		p.c.refusals.put(0, func() { p.answer(cn, m, Table{}, StatusNoMemory) })
	}
}

// serve runs one call, and answers it where the connection is still the same.
func (p *Published) serve(cn *conn, m *frame.Message) {
	method := p.methods[m.Method]
	args, err := Decode(m.Data)
	var t Table
	switch {
	case method == nil:
		err = StatusMethodNotFound
	case err != nil, !m.Has(frame.AttrData):
		err = StatusInvalidArgument
	default:
		t, err = method.Handle(p.c.ctx, &Request{m.Method, args, m.User, m.Group})
	}
	if t.err != nil {
		p.c.report(fmt.Errorf("ubus: answer of %s %s: %w", p.o.Path, m.Method, t.err))
		t, err = Table{}, StatusNoMemory
	}
	p.answer(cn, m, t, StatusOf(err))
}

func (p *Published) answer(cn *conn, m *frame.Message, t Table, s Status) {
	err := cn.reply(m, t, s)
	if err == ErrTooLarge { // a caller that hears nothing would wait for its time-out
		p.c.report(fmt.Errorf("ubus: answer of %s %s: %w", p.o.Path, m.Method, err))
		err = cn.reply(m, Table{}, StatusNoMemory)
	}
	if err != nil && err != StatusConnectionFailed {
		p.c.report(fmt.Errorf("ubus: answer of %s %s: %w", p.o.Path, m.Method, err))
	}
}

func (p *Published) active(on bool) {
	if p.listened.Swap(on) != on && p.o.Subscribed != nil {
		p.told.put(0, func() { p.o.Subscribed(on) })
	}
}

func (p *Published) unsubscribed(*conn, *frame.Message) {}
