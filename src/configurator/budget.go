package configurator

import (
	"fmt"
	"sync"
	"time"

	"homeconf/src/model"
	"homeconf/src/session"
)

// What one device may cost. It is a member, but its software is the maker's and
// may be broken or taken over: each report may be a write to flash and a pass
// over the home, each event is a line of history that pushes an old one out.
const (
	reportBurst, reportEvery = 16, time.Second
	eventBurst, eventEvery   = 32, 10 * time.Second
	// maxUnread is how many messages of one device may wait for the loop.
	maxUnread = 64
)

// allowance is a token bucket; the zero value is full.
type allowance struct {
	used int
	at   time.Time // of the last refill
}

func (a *allowance) take(now time.Time, burst int, every time.Duration) bool {
	if n := int(now.Sub(a.at) / every); n >= a.used {
		a.used, a.at = 0, now
	} else {
		a.used -= n
		a.at = a.at.Add(time.Duration(n) * every)
	}
	if a.used >= burst {
		return false
	}
	a.used++
	return true
}

// next is how long it takes until there is something to take.
func (a *allowance) next(now time.Time, every time.Duration) time.Duration {
	return max(a.at.Add(every).Sub(now), 0)
}

// inbox counts what of each device waits for the loop.
type inbox struct {
	mu sync.Mutex
	of map[*session.Peer]int
}

func (b *inbox) add(p *session.Peer) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == nil {
		b.of = map[*session.Peer]int{}
	}
	if b.of[p] >= maxUnread {
		return false
	}
	b.of[p]++
	return true
}

func (b *inbox) done(p *session.Peer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of[p]--; b.of[p] <= 0 {
		delete(b.of, p)
	}
}

// heardReport takes a report in, or, when there were too many, the last of them
// a while later.
func (c *Configurator) heardReport(who *member, rep model.Report) {
	if who.late != nil {
		who.late = &rep
		return
	}
	if who.reports.take(time.Now(), reportBurst, reportEvery) {
		c.reportNow(who, rep)
		return
	}
	who.late = &rep
	c.after(who.reports.next(time.Now(), reportEvery), func() {
		rep := *who.late
		who.late = nil
		if c.peers[idOf(who.peer)] == who {
			c.heardReport(who, rep)
		}
	})
}

func (c *Configurator) reportNow(who *member, rep model.Report) {
	if r, ok := c.store.Get(idOf(who.peer)); ok {
		c.reported(who, r, rep)
	}
}

func (c *Configurator) heardEvent(who *member, r *model.Record, text string) {
	if !who.events.take(time.Now(), eventBurst, eventEvery) {
		who.unsaid++
		return
	}
	if who.unsaid > 0 {
		c.tell("agent.too-many", r.ID, "configurator", fmt.Sprintf("%s said more than is kept: %s left out.", r.Name(), counted(who.unsaid, "event")))
		who.unsaid = 0
	}
	c.tell("agent.event", r.ID, "agent", fmt.Sprintf("%s says: %s", r.Name(), text))
}
