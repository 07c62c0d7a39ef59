package uci

import (
	"slices"
	"strings"

	"homeconf/src/model"
	file "homeconf/src/uci"
)

// addedSenders are the altnets that we added to somebody else's phyint.
func addedSenders(f *file.File) []string {
	s, ok := f.Section(sectionSenders)
	if !ok {
		return nil
	}
	return s.List("altnet")
}

// lacking are the altnets that somebody else's proxy needs to do what a path
// wants; none where it leads elsewhere.
func lacking(others Proxy, want *model.MulticastPath) []string {
	if want == nil || !others.Leads(*want) || others.Covers(*want) {
		return nil
	}
	var out []string
	for _, n := range altNets(*want) {
		if !others.takes(n) {
			out = append(out, n.Masked().String())
		}
	}
	return out
}

// setSenders makes the altnets of somebody else's upstream what he has, with
// those that we add behind. Ours from before go.
func setSenders(f *file.File, add []string) error {
	was := addedSenders(f)
	if len(was) == 0 && len(add) == 0 {
		return nil
	}
	for _, s := range f.Sections("phyint") {
		if d, _ := s.Get("direction"); d != "upstream" || ourProxy(s) {
			continue
		}
		var list []string
		for _, v := range s.List("altnet") {
			for _, w := range strings.Fields(v) {
				if !slices.Contains(was, w) {
					list = append(list, w)
				}
			}
		}
		var err error
		if list = append(list, add...); len(list) == 0 {
			s.Unset("altnet")
		} else if !slices.Equal(list, s.List("altnet")) {
			err = s.SetList("altnet", list)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
