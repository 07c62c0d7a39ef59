package uci

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"homeconf/src/model"
	file "homeconf/src/uci"
)

// MarkRule is one DSCP rule of ours in the firewall package, as fw4 knows it
// (config rule, target DSCP). What goes to Dst gets the codepoint; with Zone
// set, only what leaves into that zone.
type MarkRule struct {
	Device model.DeviceID // whose section it is
	Dst    netip.Addr
	Zone   string
	DSCP   uint8
	Name   string // for people: owners and reason
}

// options are the rule as it stands in its section. With every source and every
// destination fw4 puts it into mangle_forward, with a zone as destination into
// mangle_postrouting.
func (m MarkRule) options() []file.Option {
	dest := m.Zone
	if dest == "" {
		dest = "*"
	}
	one := func(name, value string) file.Option { return file.Option{Name: name, Values: []string{value}} }
	return []file.Option{one("name", m.Name), one("family", "ipv4"), one("proto", "all"), one("src", "*"), one("dest", dest),
		one("dest_ip", m.Dst.String()), one("target", "DSCP"), one("set_dscp", strconv.Itoa(int(m.DSCP)))}
}

func (m MarkRule) same(o MarkRule) bool { return m.Dst == o.Dst && m.Zone == o.Zone }

// Marks lists our DSCP rules in a firewall file.
func Marks(f *file.File) []MarkRule {
	if f == nil {
		return nil
	}
	var out []MarkRule
	for _, s := range f.Sections("rule") {
		if ourMark(s) {
			out = append(out, markRule(s))
		}
	}
	return out
}

func markRule(s *file.Section) MarkRule {
	var m MarkRule
	m.Device, _ = model.SectionOwner(s.Name())
	v, _ := s.Get("dest_ip")
	m.Dst, _ = netip.ParseAddr(v)
	if m.Zone, _ = s.Get("dest"); m.Zone == "*" {
		m.Zone = ""
	}
	v, _ = s.Get("set_dscp")
	n, _ := strconv.ParseUint(v, 0, 6)
	m.DSCP = uint8(n)
	m.Name, _ = s.Get("name")
	return m
}

func ourMark(s *file.Section) bool {
	_, ours := model.SectionOwner(s.Name())
	target, _ := s.Get("target")
	return ours && s.Type() == "rule" && target == "DSCP"
}

// SetMarks makes our DSCP rules the wanted ones, in one commit. What a person
// added to a section, or switched off in it, stays.
func SetMarks(ctx context.Context, dir file.Dir, before func() error, want []MarkRule) ([]Done, Saved, error) {
	var done []Done
	var saved Saved
	err := edit(ctx, dir, "firewall", before, func(f *file.File) error {
		done, saved = nil, save(f, ourMark)
		left := slices.DeleteFunc(f.Sections("rule"), func(s *file.Section) bool { return !ourMark(s) })
		for _, w := range want {
			i := slices.IndexFunc(left, func(s *file.Section) bool {
				return markRule(s).same(w) && markRule(s).Device == w.Device
			})
			op, s := Changed, (*file.Section)(nil)
			if i >= 0 {
				s = left[i]
				left = slices.Delete(left, i, i+1)
			} else {
				var err error
				if s, err = add(f, "rule", w.Device); err != nil {
					return err
				}
				op = Added
			}
			was := s.Options()
			for _, o := range w.options() {
				if err := s.Set(o.Name, o.Values[0]); err != nil {
					return fmt.Errorf("rule for %s: %w", w.Dst, err)
				}
			}
			if op == Added || !slices.EqualFunc(was, s.Options(), sameOption) {
				done = append(done, Done{Op: op, Section: s.Name(), Device: w.Device, Address: w.Dst})
			}
		}
		for _, s := range left {
			m := markRule(s)
			done = append(done, Done{Op: Removed, Section: s.Name(), Device: m.Device, Address: m.Dst})
			f.Delete(s)
		}
		return nil
	})
	return done, saved, err
}
