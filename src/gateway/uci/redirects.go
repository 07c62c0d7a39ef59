package uci

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"homeconf/src/model"
	file "homeconf/src/uci"
)

// Zones are the firewall's zones of the two sides.
type Zones struct{ WAN, LAN string }

// maxRedirectName keeps within what nft takes as a comment, to which fw4 adds
// its own words.
const maxRedirectName = 80

// redirectOptions are an opening as it stands in its section. fw4 reads dates in
// the system's own time zone.
func redirectOptions(r model.Redirect, z Zones, local *time.Location) []file.Option {
	one := func(name, value string) file.Option { return file.Option{Name: name, Values: []string{value}} }
	date := func(t time.Time) string { return t.In(local).Format("2006-01-02T15:04:05") }
	return []file.Option{one("name", redirectName(r)), one("target", "DNAT"), one("family", "ipv4"), one("src", z.WAN), one("dest", z.LAN),
		one("proto", string(r.Protocol)), one("src_dport", strconv.Itoa(int(r.External))), one("dest_ip", r.Address.String()),
		one("dest_port", strconv.Itoa(int(r.Port))), one("start_date", date(r.Start)), one("stop_date", date(r.Stop))}
}

// redirectName is for people. Reasons are anybody's words, and the name ends up
// in nft's own language.
func redirectName(r model.Redirect) string {
	s := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || strings.ContainsRune("\"'\\`$;{}#", c) {
			return '_'
		}
		return c
	}, "homeconf "+string(r.Device)+": "+r.Reason)
	return strings.TrimSpace(s[:min(len(s), maxRedirectName)])
}

// Redirects lists our redirects in a firewall file, by their sections. Dates are
// left out; off are those that somebody switched off.
func Redirects(f *file.File) (ours map[string]model.Redirect, off map[string]bool) {
	ours, off = map[string]model.Redirect{}, map[string]bool{}
	if f == nil {
		return ours, off
	}
	for _, s := range f.Sections("redirect") {
		if ourRedirect(s) {
			ours[s.Name()] = redirect(s)
			off[s.Name()] = !boolean(s, "enabled", true)
		}
	}
	return ours, off
}

func redirect(s *file.Section) model.Redirect {
	get := func(o string) string { v, _ := s.Get(o); return v }
	port := func(o string) uint16 { n, _ := strconv.ParseUint(get(o), 10, 16); return uint16(n) }
	r := model.Redirect{Protocol: model.Protocol(get("proto")), External: port("src_dport"), Port: port("dest_port")}
	r.Device, _ = model.SectionOwner(s.Name())
	r.Address, _ = netip.ParseAddr(get("dest_ip"))
	return r
}

func ourRedirect(s *file.Section) bool {
	_, ours := model.SectionOwner(s.Name())
	return ours && s.Type() == "redirect"
}

// SetRedirects makes our redirects the wanted ones, in one commit. Inside the
// lock, choose is told of the file and says what to write. What a person added
// to a section, or switched off in it, stays.
func SetRedirects(ctx context.Context, dir file.Dir, before func() error, local *time.Location, choose func(*file.File) ([]model.Redirect, Zones)) (done []Done, was []model.Redirect, saved Saved, err error) {
	err = edit(ctx, dir, "firewall", before, func(f *file.File) error {
		done, was, saved = nil, nil, save(f, ourRedirect)
		want, zones := choose(f)
		left := slices.DeleteFunc(f.Sections("redirect"), func(s *file.Section) bool { return !ourRedirect(s) })
		for _, s := range left {
			was = append(was, redirect(s))
		}
		for _, w := range want {
			i := slices.IndexFunc(left, func(s *file.Section) bool {
				h := redirect(s)
				return h.Device == w.Device && h.Outer() == w.Outer()
			})
			op, s := Changed, (*file.Section)(nil)
			if i >= 0 {
				s = left[i]
				left = slices.Delete(left, i, i+1)
			} else {
				var err error
				if s, err = add(f, "redirect", w.Device); err != nil {
					return err
				}
				op = Added
			}
			old := s.Options()
			for _, o := range redirectOptions(w, zones, local) {
				if err := s.Set(o.Name, o.Values[0]); err != nil {
					return fmt.Errorf("redirect of %s: %w", w.Outer(), err)
				}
			}
			if op == Added || !slices.EqualFunc(old, s.Options(), sameOption) {
				done = append(done, Done{Op: op, Section: s.Name(), Device: w.Device, Address: w.Address})
			}
		}
		for _, s := range left {
			h := redirect(s)
			done = append(done, Done{Op: Removed, Section: s.Name(), Device: h.Device, Address: h.Address})
			f.Delete(s)
		}
		return nil
	})
	return done, was, saved, err
}

// PortsTaken lists the ports that redirects of others' lead from the outside.
// One that is switched off counts: its owner may switch it on at any time.
func PortsTaken(f *file.File, wan string) []model.Occupied {
	if f == nil {
		return nil
	}
	var out []model.Occupied
	for _, s := range f.Sections("redirect") {
		target, _ := s.Get("target")
		if src, _ := s.Get("src"); ourRedirect(s) || src != wan && src != "*" || strings.EqualFold(target, "SNAT") {
			continue
		}
		out = append(out, portsOf(s, "src_dport", "the redirect "+title(s)+" of /etc/config/firewall")...)
	}
	return out
}

// PortsOpen lists the ports of the gateway itself that its firewall lets the
// outside reach.
func PortsOpen(f *file.File, wan string) []model.Occupied {
	if f == nil {
		return nil
	}
	var out []model.Occupied
	for _, s := range f.Sections("zone") {
		if name, _ := s.Get("name"); name == wan {
			if input, _ := s.Get("input"); strings.EqualFold(input, "ACCEPT") {
				out = append(out, model.Occupied{First: 1, Last: 65535, By: "zone " + wan})
			}
		}
	}
	for _, s := range f.Sections("rule") {
		src, _ := s.Get("src")
		_, through := s.Get("dest")
		target, _ := s.Get("target")
		if (src == wan || src == "*") && !through && strings.EqualFold(target, "ACCEPT") && boolean(s, "enabled", true) {
			out = append(out, portsOf(s, "dest_port", "the rule "+title(s)+" of /etc/config/firewall")...)
		}
	}
	return out
}

// portsOf reads the ports of a section, for each of its protocols.
func portsOf(s *file.Section, option, by string) []model.Occupied {
	var protocols []model.Protocol
	all := strings.Fields(strings.Join(s.List("proto"), " "))
	if len(all) == 0 {
		all = []string{"tcpudp"}
	}
	for _, p := range all {
		switch strings.ToLower(p) {
		case "tcp", "6":
			protocols = append(protocols, model.TCP)
		case "udp", "17":
			protocols = append(protocols, model.UDP)
		case "tcpudp", "all", "any", "*":
			protocols = append(protocols, "")
		}
	}
	var out []model.Occupied
	ports := strings.Join(s.List(option), ",")
	for _, p := range protocols {
		out = append(out, model.Occupied{Protocol: p, First: 1, Last: 65535, By: by}.Ranges(ports)...)
	}
	return out
}

func title(s *file.Section) string {
	if name, ok := s.Get("name"); ok {
		return strconv.Quote(name[:min(len(name), 40)])
	}
	return s.Name()
}
