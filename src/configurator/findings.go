package configurator

import (
	"slices"
	"sort"
	"sync"
	"time"

	"homeconf/src/model"
)

// findings are what is wrong now, by who found it. Each source replaces its own
// as a whole, so nothing mended stays listed. It may be looked at from outside
// the loop.
type findings struct {
	mu       sync.Mutex
	bySource map[string]map[string]model.Finding
}

func newFindings() *findings { return &findings{bySource: map[string]map[string]model.Finding{}} }

// set replaces what a source has found and tells what is new and what is gone.
func (f *findings) set(source string, now time.Time, found []model.Finding) (raised, cleared []model.Finding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.bySource[source]
	next := make(map[string]model.Finding, len(found))
	for _, n := range found {
		if n.ID == "" {
			n.ID = model.FindingID(n.Kind, n.Device)
		}
		if _, twice := next[n.ID]; twice {
			continue
		}
		before, known := old[n.ID]
		if known {
			n.Since = before.Since
		} else {
			n.Since = now
			raised = append(raised, n)
		}
		next[n.ID] = n
	}
	for id, o := range old {
		if _, still := next[id]; !still {
			cleared = append(cleared, o)
		}
	}
	if f.bySource[source] = next; len(next) == 0 {
		delete(f.bySource, source)
	}
	sortFindings(raised)
	sortFindings(cleared)
	return raised, cleared
}

func (f *findings) all() []model.Finding {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []model.Finding
	for _, s := range f.bySource {
		for _, n := range s {
			all = append(all, n)
		}
	}
	sortFindings(all)
	return all
}

func (f *findings) of(id model.DeviceID) []model.Finding {
	return slices.DeleteFunc(f.all(), func(n model.Finding) bool { return n.Device != id })
}

func sortFindings(l []model.Finding) {
	sort.Slice(l, func(i, j int) bool { return l[i].ID < l[j].ID })
}

func (f *findings) has(kind string, id model.DeviceID) bool {
	return slices.ContainsFunc(f.of(id), func(n model.Finding) bool { return n.Kind == kind })
}
