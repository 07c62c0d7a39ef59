package uci

import (
	"net/netip"
	"slices"
	"strings"

	"homeconf/src/model"
	file "homeconf/src/uci"
)

// sectionSenders remembers what we changed in the altnets of somebody else's
// phyint: "altnet" lists those that we added, "instead_of" those of his that
// gave way. igmpproxy reads no such section.
const sectionSenders = "hc_igmpproxy_altnet"

// exampleSenders is what igmpproxy's package comes with. No provider sends from
// there, and where it is the LAN's own subnet igmpproxy takes every device on the
// LAN for one upstream, and heeds none.
const exampleSenders = "192.168.1.0/24"

// hisSenders are the altnets of somebody else's phyint without our changes.
func hisSenders(f *file.File, s *file.Section) []string {
	var added, list []string
	if ours, ok := f.Section(sectionSenders); ok {
		added, list = ours.List("altnet"), ours.List("instead_of")
	}
	for _, v := range s.List("altnet") {
		for _, w := range strings.Fields(v) {
			if !slices.Contains(added, w) {
				list = append(list, w)
			}
		}
	}
	return list
}

// lacking are the altnets that somebody else's proxy needs to do what a path
// wants; none where it leads elsewhere.
func lacking(others Proxy, want *model.MulticastPath) []netip.Prefix {
	var out []netip.Prefix
	if want != nil && others.Leads(*want) {
		for _, n := range altNets(*want) {
			if !others.takes(n) {
				out = append(out, n.Masked())
			}
		}
	}
	return out
}

// setSenders makes the altnets of somebody else's upstream his own with ours
// behind. Of his, those give way that ours have in them, and the example.
func setSenders(f *file.File, add []netip.Prefix) ([]section, error) {
	var names, gone []string
	for _, n := range add {
		names = append(names, n.String())
	}
	ours := Proxy{AltNets: add}
	for _, s := range f.Sections("phyint") {
		if d, _ := s.Get("direction"); d != "upstream" || ourProxy(s) {
			continue
		}
		var list []string
		for _, w := range hisSenders(f, s) {
			n, err := netip.ParsePrefix(w)
			if len(add) > 0 && (w == exampleSenders || err == nil && ours.takes(n)) {
				gone = append(gone, w)
			} else {
				list = append(list, w)
			}
		}
		if err := setList(s, "altnet", append(list, names...)); err != nil {
			return nil, err
		}
	}
	if len(add) == 0 {
		return nil, nil
	}
	set := []file.Option{{Name: "altnet", Values: names, IsList: true}}
	if len(gone) > 0 {
		set = append(set, file.Option{Name: "instead_of", Values: gone, IsList: true})
	}
	return []section{{"homeconf", sectionSenders, set}}, nil
}

// setList writes a list that differs; an empty one is none.
func setList(s *file.Section, name string, list []string) error {
	if slices.Equal(list, s.List(name)) {
		return nil
	}
	if len(list) == 0 {
		s.Unset(name)
		return nil
	}
	return s.SetList(name, list)
}

// keepSenders gives what makes the altnets of somebody else's upstream again
// what they are in f.
func keepSenders(f *file.File) func(*file.File) error {
	old := map[string][]string{}
	for _, s := range f.Sections("phyint") {
		if d, _ := s.Get("direction"); d == "upstream" && !ourProxy(s) {
			network, _ := s.Get("network")
			old[network] = s.List("altnet")
		}
	}
	return func(f *file.File) error {
		for _, s := range f.Sections("phyint") {
			network, _ := s.Get("network")
			if list, ok := old[network]; ok && !ourProxy(s) {
				if err := setList(s, "altnet", list); err != nil {
					return err
				}
			}
		}
		return nil
	}
}
