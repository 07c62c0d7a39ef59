package inventory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"homeconf/src/model"
)

const (
	// maxHistory bounds the history on flash. When it is full the older half goes.
	maxHistory = 256 << 10
	// historyPause is how long events are gathered before they are written:
	// flash is written in blocks, and a story has many lines. While events go
	// on coming it doubles, up to historyPauseMax: a device that comes and
	// goes all day must not wear the flash out.
	historyPause, historyPauseMax = time.Second, time.Minute
	// maxEvent bounds one event.
	maxEvent = 8 << 10
)

// history is what happened, oldest first: in memory as it is in the file.
type history struct {
	events []model.Event
	sizes  []int // of each event's line
	size   int
	seq    uint64
	dirty  bool
	timer  *time.Timer
	pause  time.Duration
	wrote  time.Time

	writing sync.Mutex // held over a write, and taken before the Store's
}

func (s *Store) historyPath() string { return filepath.Join(s.dir, "history.jsonl") }

// open reads the file. Lines that can't be read, such as a last one that was
// cut short, are passed over: history is told, never relied on.
func (h *history) open(s *Store) {
	b, err := s.fs.ReadFile(s.historyPath(), 2*maxHistory)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.err = fmt.Errorf("reading the history: %w", err)
		}
		return
	}
	for line := range bytes.Lines(b) {
		var e model.Event
		if len(line) > maxEvent || json.Unmarshal(line, &e) != nil || e.Seq <= h.seq && h.seq > 0 {
			continue
		}
		h.add(e, len(line))
	}
}

func (h *history) add(e model.Event, size int) {
	h.events, h.sizes = append(h.events, e), append(h.sizes, size)
	h.size += size
	h.seq = max(h.seq, e.Seq)
	if h.size <= maxHistory {
		return
	}
	cut := 0
	for ; cut < len(h.events)-1 && h.size > maxHistory/2; cut++ {
		h.size -= h.sizes[cut]
	}
	h.events, h.sizes = slices.Clone(h.events[cut:]), slices.Clone(h.sizes[cut:])
}

// Append adds an event and gives it its number. It is on disk a second later,
// or after Flush.
func (s *Store) Append(e model.Event) (model.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &s.history
	e.Seq = h.seq + 1
	line, err := json.Marshal(e)
	if err == nil && len(line) >= maxEvent {
		e.Detail = nil
		line, err = json.Marshal(e)
	}
	if err != nil || len(line) >= maxEvent {
		return e, fmt.Errorf("event of %d bytes is not kept (%v)", len(line), err)
	}
	h.add(e, len(line)+1)
	h.dirty = true
	if h.timer == nil {
		if time.Since(h.wrote) < 2*h.pause {
			h.pause = min(2*h.pause, historyPauseMax)
		} else {
			h.pause = historyPause
		}
		h.timer = time.AfterFunc(h.pause, func() {
			if err := s.flushHistory(); err != nil {
				s.mu.Lock()
				s.err, h.dirty = err, true
				s.mu.Unlock()
			}
		})
	}
	return e, nil
}

// flushHistory writes the history whole. Who reads or appends meanwhile does
// not wait for the disk.
func (s *Store) flushHistory() error {
	h := &s.history
	h.writing.Lock()
	defer h.writing.Unlock()
	s.mu.Lock()
	if h.timer != nil {
		h.timer.Stop()
		h.timer = nil
	}
	dirty := h.dirty
	h.dirty = false
	b, err := h.encode()
	s.mu.Unlock()
	if !dirty || err != nil {
		return err
	}
	if err := writeAll(s.fs, []file{{s.historyPath(), b}}, 0o600); err != nil {
		return fmt.Errorf("storing the history: %w", err)
	}
	s.mu.Lock()
	h.wrote = time.Now()
	s.mu.Unlock()
	return nil
}

func (h *history) encode() ([]byte, error) {
	var b bytes.Buffer
	for _, e := range h.events {
		line, err := json.Marshal(e)
		if err != nil {
			return nil, fmt.Errorf("encoding the history: %w", err)
		}
		b.Write(append(line, '\n'))
	}
	return b.Bytes(), nil
}

// Events returns the last events, oldest first: of one device, or of all for "".
// A limit of 0 is none.
func (s *Store) Events(device model.DeviceID, limit int) []model.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []model.Event
	for i := len(s.history.events) - 1; i >= 0 && (limit <= 0 || len(out) < limit); i-- {
		if e := s.history.events[i]; device == "" || e.Device == device {
			out = append(out, e)
		}
	}
	slices.Reverse(out)
	return out
}
