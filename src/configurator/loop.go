package configurator

import (
	"context"
	"errors"
	"sync"
)

// mailboxLimit bounds what may wait for the loop. Peers send at most a few
// messages before they wait for an answer, so a full mailbox means that
// somebody floods, and the newest is refused.
const mailboxLimit = 4096

var errBusy = errors.New("too much is waiting to be done")

// mailbox hands what happens to the one goroutine that owns all state. Telling
// never blocks, so a session's own loop may tell.
type mailbox struct {
	mu   sync.Mutex
	todo []func()
	ring chan struct{}
	// rest is done when all that was waiting is done.
	rest func()
}

func newMailbox() *mailbox { return &mailbox{ring: make(chan struct{}, 1), rest: func() {}} }

// tell queues f; false when too much is waiting.
func (m *mailbox) tell(f func()) bool {
	m.mu.Lock()
	full := len(m.todo) >= mailboxLimit
	if !full {
		m.todo = append(m.todo, f)
	}
	m.mu.Unlock()
	select {
	case m.ring <- struct{}{}:
	default:
	}
	return !full
}

// run carries out what is told, in order, until ctx ends.
func (m *mailbox) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.ring:
		}
		m.mu.Lock()
		todo := m.todo
		m.todo = nil
		m.mu.Unlock()
		for _, f := range todo {
			if ctx.Err() != nil {
				return
			}
			f()
		}
		m.rest()
	}
}

// ask has f carried out by the loop and waits until it is done.
func (m *mailbox) ask(ctx context.Context, f func()) error {
	done := make(chan struct{})
	if !m.tell(func() { f(); close(done) }) {
		return errBusy
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
