package uci

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"homeconf/src/model"
	file "homeconf/src/uci"
)

// Our sections of igmpproxy. They belong to no single device.
const (
	sectionProxy      = "hc_igmpproxy"
	sectionUpstream   = "hc_igmpproxy_up"
	sectionDownstream = "hc_igmpproxy_down"
)

// anywhere lets igmpproxy take streams from every sender. Its own default,
// 192.168.1.0/24, is wrong for most providers (openwrt/packages#22410).
var anywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

// Proxy is what igmpproxy is configured for.
type Proxy struct {
	Upstream   string
	Downstream []string
	AltNets    []netip.Prefix
}

// Complete says that streams have a way in and a way out.
func (p Proxy) Complete() bool { return p.Upstream != "" && len(p.Downstream) > 0 }

// Leads says whether the proxy leads where a path wants, whoever sends.
func (p Proxy) Leads(path model.MulticastPath) bool {
	return p.Upstream == path.Upstream && slices.Contains(p.Downstream, path.Downstream)
}

// Covers says whether the proxy does what a path wants.
func (p Proxy) Covers(path model.MulticastPath) bool {
	if !p.Leads(path) {
		return false
	}
	return !slices.ContainsFunc(altNets(path), func(n netip.Prefix) bool { return !p.takes(n) })
}

// takes says whether all senders of a network are taken.
func (p Proxy) takes(n netip.Prefix) bool {
	return slices.ContainsFunc(p.AltNets, func(have netip.Prefix) bool { return have.Bits() <= n.Bits() && have.Contains(n.Addr()) })
}

func altNets(p model.MulticastPath) []netip.Prefix {
	if len(p.AltNets) == 0 {
		return []netip.Prefix{anywhere}
	}
	return p.AltNets
}

func ourProxy(s *file.Section) bool {
	switch s.Name() {
	case sectionProxy, sectionUpstream, sectionDownstream, sectionSenders, sectionOMC:
		return true
	}
	return false
}

// Proxies reads an igmpproxy file: what is ours in it, and what is not. Altnets
// that we added to somebody else's are not his.
func Proxies(f *file.File) (ours, others Proxy) {
	if f == nil {
		return
	}
	for _, s := range f.Sections("phyint") {
		p := &others
		if ourProxy(s) {
			p = &ours
		}
		network, _ := s.Get("network")
		switch direction, _ := s.Get("direction"); direction {
		case "upstream":
			p.Upstream = network
			list := s.List("altnet")
			if p == &others {
				list = hisSenders(f, s)
			}
			for _, v := range list {
				for _, w := range strings.Fields(v) {
					if n, err := netip.ParsePrefix(w); err == nil {
						p.AltNets = append(p.AltNets, n)
					}
				}
			}
		case "downstream":
			p.Downstream = append(p.Downstream, network)
		}
	}
	return ours, others
}

// section is one section that should be there.
type section struct {
	typ, name string
	set       []file.Option
}

// SetProxy makes our sections of igmpproxy the wanted ones; nil removes them.
// Where somebody else has configured a way in or out, ours would be a second
// one, which igmpproxy refuses: then only the senders are added to his that it
// lacks. Zones are the firewall zones of the two networks.
func SetProxy(ctx context.Context, dir file.Dir, before func() error, want *model.MulticastPath, zones func(network string) string) ([]Done, Saved, error) {
	var undo func(*file.File) error
	done, saved, err := setSections(ctx, dir, IGMPProxy, before, func(f *file.File) ([]section, error) {
		_, others := Proxies(f)
		undo = keepSenders(f)
		senders, err := setSenders(f, lacking(others, want))
		if err != nil || want == nil || others.Upstream != "" || len(others.Downstream) > 0 {
			return senders, err
		}
		var list []section
		if !slices.ContainsFunc(f.Sections("igmpproxy"), func(s *file.Section) bool { return !ourProxy(s) }) {
			list = append(list, section{"igmpproxy", sectionProxy, []file.Option{{Name: "quickleave", Values: []string{"1"}}}})
		}
		var nets []string
		for _, n := range altNets(*want) {
			nets = append(nets, n.Masked().String())
		}
		return append(list,
			section{"phyint", sectionUpstream, []file.Option{{Name: "network", Values: []string{want.Upstream}}, {Name: "zone", Values: []string{zones(want.Upstream)}},
				{Name: "direction", Values: []string{"upstream"}}, {Name: "altnet", Values: nets, IsList: true}}},
			section{"phyint", sectionDownstream, []file.Option{{Name: "network", Values: []string{want.Downstream}}, {Name: "zone", Values: []string{zones(want.Downstream)}},
				{Name: "direction", Values: []string{"downstream"}}}}), nil
	})
	saved.others = undo
	return done, saved, err
}

// setSections makes our sections of a proxy's package the listed ones.
func setSections(ctx context.Context, dir file.Dir, pkg string, before func() error, choose func(*file.File) ([]section, error)) ([]Done, Saved, error) {
	var done []Done
	var saved Saved
	err := edit(ctx, dir, pkg, before, func(f *file.File) error {
		done, saved = nil, save(f, ourProxy)
		list, err := choose(f)
		if err != nil {
			return err
		}
		for _, w := range list {
			op := Changed
			s, ok := f.Section(w.name)
			if ok && s.Type() != w.typ {
				f.Delete(s)
				ok = false
			}
			if !ok {
				var err error
				if s, err = f.Add(w.typ, w.name); err != nil {
					return err
				}
				op = Added
			}
			before := s.Options()
			for _, o := range w.set {
				var err error
				if o.IsList {
					err = s.SetList(o.Name, o.Values)
				} else {
					err = s.Set(o.Name, o.Values[0])
				}
				if err != nil {
					return err
				}
			}
			if op == Added || !slices.EqualFunc(before, s.Options(), sameOption) {
				done = append(done, Done{Op: op, Section: w.name})
			}
		}
		for _, s := range f.Sections("") {
			if name := s.Name(); ourProxy(s) && !slices.ContainsFunc(list, func(w section) bool { return w.name == name }) {
				f.Delete(s)
				done = append(done, Done{Op: Removed, Section: name})
			}
		}
		return nil
	})
	return done, saved, err
}
