package ubus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"homeconf/src/ubus/internal/frame"
)

// matches is ubus's way to match: the whole, or a prefix with a final '*'.
func matches(pattern, s string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(s, prefix)
	}
	return pattern == s
}

// Listener hears events.
type Listener struct {
	c       *Client
	pattern string
	handle  func(event string, data Table)
	heard   queue

	mu   sync.Mutex
	conn *conn
	id   uint32
}

// Listen calls handle with every event of that name, or with that prefix when
// pattern ends in '*', one after the other. A client never hears its own events.
// ubusd itself sends ubus.object.add and ubus.object.remove, with id and path.
func (c *Client) Listen(ctx context.Context, pattern string, handle func(event string, data Table)) (*Listener, error) {
	l := &Listener{c: c, pattern: cString(pattern), handle: handle, heard: queue{workers: 1}}
	if err := c.add(ctx, l); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Listener) register(ctx context.Context, cn *conn) error {
	l.mu.Lock()
	done := l.conn == cn
	l.mu.Unlock()
	if done {
		return nil
	}
	id, err := cn.listen(ctx, l.pattern, l)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn, l.id = cn, id
	return nil
}

// listen registers an object and lets it hear events.
func (c *conn) listen(ctx context.Context, pattern string, to receiver) (uint32, error) {
	id, err := c.addObject(ctx, "", nil, to)
	if err != nil {
		return 0, fmt.Errorf("ubus: listen to %s: %w", pattern, err)
	}
	if err := c.register(ctx, id, pattern); err != nil {
		return 0, errors.Join(fmt.Errorf("ubus: listen to %s: %w", pattern, err), c.removeObject(ctx, id))
	}
	return id, nil
}

func (l *Listener) lost() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = nil
}

// Close ends it. A call of the handler may still be under way.
func (l *Listener) Close(ctx context.Context) error {
	return l.c.remove(ctx, l, func(ctx context.Context, cn *conn) error {
		l.mu.Lock()
		registered, id := l.conn == cn, l.id
		l.conn = nil
		l.mu.Unlock()
		if !registered {
			return nil
		}
		return cn.removeObject(ctx, id)
	})
}

func (l *Listener) invoked(_ *conn, m *frame.Message) {
	// Events want no answer: ubusd would drop it.
	if !l.heard.put(len(m.Data), func() {
		data, err := Decode(m.Data)
		if err != nil {
			l.c.report(fmt.Errorf("ubus: event %s: %w", m.Method, err))
			return
		}
		l.handle(m.Method, data)
	}) {
		l.c.told.put(0, func() { l.c.report(fmt.Errorf("ubus: event %s dropped: %w", m.Method, StatusNoMemory)) })
	}
}

func (l *Listener) active(bool)                        {}
func (l *Listener) unsubscribed(*conn, *frame.Message) {}

// Subscriber is told of objects and what they notify. Its functions are called
// one after the other.
type Subscriber struct {
	// Notify, if there is one, is told a notification of the object at path.
	Notify func(path, method string, data Table)
	// Up, if there is one, is told that an object is there, and heard from now
	// on. What happened to it before was not heard: this is the time to ask.
	Up func(path string)
	// Down, if there is one, is told that an object, or ubusd, is gone.
	Down func(path string)
}

// Subscription is a standing wish: it subscribes to every object that is there
// or comes later, and after a restart of ubusd to all of them again.
type Subscription struct {
	c       *Client
	pattern string
	to      Subscriber
	heard   queue // what to is told
	work    queue // objects that came and went

	mu      sync.Mutex
	conn    *conn
	watch   uint32             // our object that hears of new objects
	targets map[uint32]*target // by the id of the object that is heard
}

// target is one object that is heard, by an object of our own: a notification
// does not say whose it is.
type target struct {
	s    *Subscription
	path string
	id   uint32
	own  uint32
	up   bool
}

// Subscribe subscribes to the object at path, or to all whose paths have that
// prefix when pattern ends in '*', now and whenever one comes. None needs to be
// there. Objects of this client are left out. It takes the right to hear the event
// ubus.object.add, which root has.
func (c *Client) Subscribe(ctx context.Context, pattern string, to Subscriber) (*Subscription, error) {
	if pattern == "" {
		return nil, fmt.Errorf("ubus: subscribe to nothing: %w", StatusInvalidArgument)
	}
	s := &Subscription{c: c, pattern: cString(pattern), to: to, heard: queue{workers: 1}, work: queue{workers: 1},
		targets: map[uint32]*target{}}
	if err := c.add(ctx, s); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Subscription) register(ctx context.Context, cn *conn) error {
	s.mu.Lock()
	done := s.conn == cn
	s.mu.Unlock()
	if done {
		return nil
	}
	// First hear of new objects, then look: none can slip through.
	watch, err := cn.listen(ctx, "ubus.object.add", (*watcher)(s))
	if err != nil {
		return fmt.Errorf("ubus: subscribe to %s: %w", s.pattern, err)
	}
	s.mu.Lock()
	s.conn, s.watch = cn, watch
	s.mu.Unlock()
	found, err := cn.lookup(ctx, s.pattern)
	if err == StatusNotFound {
		err = nil
	}
	for _, o := range found {
		err = errors.Join(err, s.attach(ctx, cn, o.Path, o.ID))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("ubus: subscribe to %s: %w", s.pattern, err), s.release(ctx, cn))
	}
	return nil
}

// attach hears one object.
func (s *Subscription) attach(ctx context.Context, cn *conn, path string, id uint32) error {
	t := &target{s: s, path: path, id: id}
	s.mu.Lock()
	if s.conn != cn || s.targets[id] != nil {
		s.mu.Unlock()
		return nil
	}
	s.targets[id] = t
	s.mu.Unlock()

	own, err := cn.addObject(ctx, "", nil, t)
	if err == nil {
		s.mu.Lock()
		t.own = own
		s.mu.Unlock()
		err = cn.subscribe(ctx, own, id, t.isUp)
		s.mu.Lock()
		kept := s.conn == cn
		s.mu.Unlock()
		if err == nil && kept {
			return nil
		}
		if gone := cn.removeObject(ctx, own); err == nil {
			err = gone // released meanwhile, which has left this to us
		}
		if err == nil {
			return nil
		}
	}
	s.mu.Lock()
	if s.targets[id] == t {
		delete(s.targets, id)
	}
	s.mu.Unlock()
	// Gone meanwhile, or not for us to hear; or, with an invalid argument, an
	// object of our own, of which we hear before its id is known.
	if err == StatusNotFound || err == StatusInvalidArgument {
		return nil
	}
	return fmt.Errorf("%s: %w", path, err)
}

// detach gives back the object that heard one that is gone.
func (s *Subscription) detach(ctx context.Context, cn *conn, t *target) {
	s.mu.Lock()
	if s.targets[t.id] == t {
		delete(s.targets, t.id)
	}
	own := t.own
	s.mu.Unlock()
	if err := cn.removeObject(ctx, own); err != nil && !errors.Is(err, StatusConnectionFailed) {
		s.c.report(fmt.Errorf("ubus: unsubscribe from %s: %w", t.path, err))
	}
}

func (s *Subscription) lost() {
	s.mu.Lock()
	targets := s.targets
	s.conn, s.targets = nil, map[uint32]*target{}
	s.mu.Unlock()
	for _, t := range targets {
		t.isDown()
	}
}

// Close ends it. A call of one of the functions may still be under way.
func (s *Subscription) Close(ctx context.Context) error {
	return s.c.remove(ctx, s, s.release)
}

// release gives back what is registered on a connection.
func (s *Subscription) release(ctx context.Context, cn *conn) error {
	s.mu.Lock()
	registered, watch := s.conn == cn, s.watch
	var owned []uint32
	for _, t := range s.targets {
		if t.own != 0 { // else attach is at it
			owned = append(owned, t.own)
		}
	}
	s.conn, s.targets = nil, map[uint32]*target{}
	s.mu.Unlock()
	if !registered {
		return nil
	}
	err := cn.removeObject(ctx, watch)
	for _, own := range owned {
		// attach may have been at it, and given it back itself.
		if gone := cn.removeObject(ctx, own); gone != StatusNotFound {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// tell queues what the subscriber is told.
func (s *Subscription) tell(size int, what func()) bool {
	if s.heard.put(size, what) {
		return true
	}
	s.c.told.put(0, func() {
		s.c.report(fmt.Errorf("ubus: notification of %s dropped: %w", s.pattern, StatusNoMemory))
	})
	return false
}

// watcher is a Subscription as it hears of new objects.
type watcher Subscription

func (w *watcher) invoked(cn *conn, m *frame.Message) {
	s := (*Subscription)(w)
	added, err := Decode(m.Data)
	path, id := added.Text("path"), added.Uint32("id")
	if err != nil || !matches(s.pattern, path) {
		return
	}
	s.later(func(ctx context.Context) {
		if err := s.attach(ctx, cn, path, id); err != nil && !errors.Is(err, StatusConnectionFailed) {
			s.c.report(fmt.Errorf("ubus: subscribe to %w", err))
		}
	})
}

func (w *watcher) active(bool)                        {}
func (w *watcher) unsubscribed(*conn, *frame.Message) {}

// later does what the reader must not wait for.
func (s *Subscription) later(do func(context.Context)) {
	if !s.work.put(0, func() {
		ctx, cancel := context.WithTimeout(s.c.ctx, DefaultTimeout)
		defer cancel()
		do(ctx)
	}) {
		s.c.told.put(0, func() { s.c.report(fmt.Errorf("ubus: subscribe to %s: %w", s.pattern, StatusNoMemory)) })
	}
}

func (t *target) isUp() {
	t.s.mu.Lock()
	t.up = true
	t.s.mu.Unlock()
	if t.s.to.Up != nil {
		t.s.tell(0, func() { t.s.to.Up(t.path) })
	}
}

func (t *target) isDown() {
	t.s.mu.Lock()
	was := t.up
	t.up = false
	t.s.mu.Unlock()
	if was && t.s.to.Down != nil {
		t.s.tell(0, func() { t.s.to.Down(t.path) })
	}
}

func (t *target) invoked(cn *conn, m *frame.Message) {
	taken := t.s.tell(len(m.Data), func() {
		data, err := Decode(m.Data)
		switch {
		case err == nil && t.s.to.Notify != nil:
			t.s.to.Notify(t.path, m.Method, data)
		case err != nil:
			t.s.c.report(fmt.Errorf("ubus: notification %s of %s: %w", m.Method, t.path, err))
		}
		if !m.NoReply {
			t.answer(cn, m, StatusOf(err))
		}
	})
	if !taken && !m.NoReply {
		t.s.c.refusals.put(0, func() { t.answer(cn, m, StatusNoMemory) })
	}
}

// answer tells a provider that asks what became of its notification.
func (t *target) answer(cn *conn, m *frame.Message, status Status) {
	if err := cn.reply(m, Table{}, status); err != nil && err != StatusConnectionFailed {
		t.s.c.report(fmt.Errorf("ubus: answer to %s of %s: %w", m.Method, t.path, err))
	}
}

func (t *target) active(bool) {}

func (t *target) unsubscribed(cn *conn, m *frame.Message) {
	if m.Target != t.id {
		return
	}
	t.isDown()
	t.s.later(func(ctx context.Context) { t.s.detach(ctx, cn, t) })
}
