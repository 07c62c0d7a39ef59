package configurator

import "time"

// patience bounds how often something is done again that somebody else undoes:
// with growing pauses, and then only every few hours, until a person acts.
type patience map[string]*attempts

type attempts struct {
	n    int
	last time.Time
}

// pauses are those after the first, the second and further attempts.
var pauses = []time.Duration{4 * time.Second, 16 * time.Second, 64 * time.Second, 5 * time.Minute, 6 * time.Hour}

// calm is how long a thing must have lasted for its attempts to be forgotten,
// beside twice the pause that they had earned.
const calm = 10 * time.Minute

func (p patience) of(key string) *attempts {
	t := p[key]
	if t == nil {
		t = &attempts{}
		p[key] = t
	}
	return t
}

// pause is the one after the attempts made so far.
func (p patience) pause(key string) time.Duration {
	n := p.of(key).n
	if key == triesGateway {
		n -= atOnce
	}
	if n <= 0 {
		return 0
	}
	return pauses[min(n, len(pauses))-1]
}

// What is tried: triesGateway to put back what is ours there, which a person
// who restarts the firewall takes away too, so that atOnce times in a row it is
// done at once; triesLAN the LAN's address; triesSubnet to follow it.
const (
	triesGateway = "gateway"
	triesLAN     = "lan"
	triesSubnet  = "subnet"
	atOnce       = 3
)

// again counts an attempt, or says how long to wait before it.
func (p patience) again(key string, now time.Time) time.Duration {
	t, pause := p.of(key), p.pause(key)
	since := now.Sub(t.last)
	if t.n > 0 && since > calm && since > 2*pause {
		t.n, pause = 0, 0
	}
	if t.n > 0 && since < pause {
		return pause - since
	}
	t.n++
	t.last = now
	return 0
}
