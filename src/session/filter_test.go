package session

import (
	"sync"

	"homeconf/src/link"
)

// filter is a port that loses what it is told to of what is sent.
type filter struct {
	link.Port
	mu   sync.Mutex
	lose func(payload []byte) bool
}

func (f *filter) set(lose func(payload []byte) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lose = lose
}

func (f *filter) Send(dst link.MAC, payload []byte) error {
	f.mu.Lock()
	lost := f.lose != nil && f.lose(payload)
	f.mu.Unlock()
	if lost {
		return nil
	}
	return f.Port.Send(dst, payload)
}
