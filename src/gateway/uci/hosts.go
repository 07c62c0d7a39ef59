// Package uci is the gateway's half of UCI: it reads what the configuration
// says of the home's network, and writes the sections that are ours. Ours is
// known by a section's name (model.SectionName); nothing else is touched.
package uci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"homeconf/src/model"
	file "homeconf/src/uci"
)

// Op is what became of a section.
type Op string

// The operations.
const (
	Added   Op = "added"
	Changed Op = "changed"
	Removed Op = "removed"
)

// Done is one section written.
type Done struct {
	Op      Op
	Section string
	Device  model.DeviceID
	Address netip.Addr
	MACs    []model.MAC
}

// Saved is our sections of a package as they were before a change.
type Saved struct {
	Package  string
	sections []savedSection
	ours     func(*file.Section) bool
	others   func(*file.File) error // puts back what we changed in sections of others
}

type savedSection struct {
	typ, name string
	options   []file.Option
}

// Hosts lists the reservations in a dhcp file, ours and anyone's.
func Hosts(f *file.File) []model.HostEntry {
	if f == nil {
		return nil
	}
	var out []model.HostEntry
	for _, s := range f.Sections("host") {
		e := model.HostEntry{Section: s.Name(), Enabled: boolean(s, "enable", true)}
		e.Owner, _ = model.SectionOwner(s.Name())
		e.Name, _ = s.Get("name")
		// Lists and the older form, all in one value, both occur.
		for _, v := range s.List("mac") {
			for _, w := range strings.Fields(v) {
				if m, err := model.ParseMAC(w); err == nil {
					e.MACs = append(e.MACs, m)
				}
			}
		}
		if v, ok := s.Get("ip"); ok {
			if a, err := netip.ParseAddr(strings.TrimSpace(v)); err == nil && a.Is4() {
				e.Address = a
			}
		}
		out = append(out, e)
	}
	return out
}

// SetHosts makes our host sections the wanted ones, all in one commit. Inside
// the lock, choose is told of every host there is and says what to write;
// before is called when something is about to be written.
func SetHosts(ctx context.Context, dir file.Dir, before func() error, choose func([]model.HostEntry) []model.Reservation) ([]Done, Saved, error) {
	var done []Done
	var saved Saved
	err := edit(ctx, dir, "dhcp", before, func(f *file.File) error {
		done, saved = nil, save(f, ourHost)
		want := choose(Hosts(f))
		have := map[model.DeviceID][]*file.Section{}
		for _, s := range f.Sections("host") {
			if id, ours := model.SectionOwner(s.Name()); ours {
				have[id] = append(have[id], s)
			}
		}
		// A section that has the address already keeps it; then those left
		// over are changed; then new ones are made.
		var open []model.Reservation
		for _, r := range want {
			i := slices.IndexFunc(have[r.Device], func(s *file.Section) bool { return address(s) == r.Address })
			if i < 0 {
				open = append(open, r)
				continue
			}
			s := have[r.Device][i]
			have[r.Device] = slices.Delete(have[r.Device], i, i+1)
			if err := fill(s, r, &done, Changed); err != nil {
				return err
			}
		}
		for _, r := range open {
			op, s := Changed, (*file.Section)(nil)
			if l := have[r.Device]; len(l) > 0 {
				s, have[r.Device] = l[0], l[1:]
			} else {
				var err error
				if s, err = add(f, "host", r.Device); err != nil {
					return err
				}
				op = Added
			}
			if err := fill(s, r, &done, op); err != nil {
				return err
			}
		}
		for _, s := range f.Sections("host") {
			id, ours := model.SectionOwner(s.Name())
			if !ours || !slices.Contains(have[id], s) {
				continue
			}
			e := Hosts(f)[slices.Index(f.Sections("host"), s)]
			f.Delete(s)
			done = append(done, Done{Removed, e.Section, id, e.Address, e.MACs})
		}
		return nil
	})
	return done, saved, err
}

// edit is dir.Edit, but leaves a file alone that would not change: opening it
// for writing wakes whoever watches the folder.
func edit(ctx context.Context, dir file.Dir, pkg string, before func() error, change func(*file.File) error) error {
	f, err := dir.Load(pkg)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = file.Parse(pkg, nil)
	}
	if err != nil {
		return err
	}
	old := f.Bytes()
	if err := change(f); err != nil {
		return err
	}
	if bytes.Equal(old, f.Bytes()) {
		return nil
	}
	if before != nil {
		if err := before(); err != nil {
			return err
		}
	}
	_, err = dir.Edit(ctx, pkg, change)
	return err
}

// fill writes a reservation into its section. What a person added to it, or
// switched off in it, stays.
func fill(s *file.Section, r model.Reservation, done *[]Done, op Op) error {
	before := s.Options()
	macs := make([]string, len(r.MACs))
	for i, m := range r.MACs {
		macs[i] = m.String()
	}
	slices.Sort(macs)
	if err := s.Set("name", r.Name); err != nil {
		return err
	}
	// Case and order of the addresses are the person's who wrote them.
	have := s.List("mac")
	for i := range have {
		have[i] = strings.ToLower(have[i])
	}
	slices.Sort(have)
	if !slices.Equal(have, macs) {
		if err := s.SetList("mac", macs); err != nil {
			return err
		}
	}
	if err := s.Set("ip", r.Address.String()); err != nil {
		return err
	}
	if op == Added || !slices.EqualFunc(before, s.Options(), sameOption) {
		*done = append(*done, Done{op, s.Name(), r.Device, r.Address, r.MACs})
	}
	return nil
}

// maxSections bounds the sections of one device.
const maxSections = 1000

// add makes a device's next section, under the first name that is free.
func add(f *file.File, typ string, id model.DeviceID) (*file.Section, error) {
	for n := range maxSections {
		name := model.SectionName(id, n)
		if _, taken := f.Section(name); !taken {
			return f.Add(typ, name)
		}
	}
	return nil, fmt.Errorf("device %s has no section name left", id)
}

func address(s *file.Section) netip.Addr {
	v, _ := s.Get("ip")
	a, _ := netip.ParseAddr(v)
	return a
}

func ourHost(s *file.Section) bool {
	_, ours := model.SectionOwner(s.Name())
	return ours && s.Type() == "host"
}

func save(f *file.File, ours func(*file.Section) bool) Saved {
	s := Saved{Package: f.Name(), ours: ours}
	for _, sec := range f.Sections("") {
		if ours(sec) {
			s.sections = append(s.sections, savedSection{sec.Type(), sec.Name(), sec.Options()})
		}
	}
	return s
}

// Restore makes our sections of a package what they were.
func (s Saved) Restore(ctx context.Context, dir file.Dir) error {
	if s.Package == "" {
		return nil // the package was never read
	}
	err := edit(ctx, dir, s.Package, nil, func(f *file.File) error {
		if s.others != nil {
			if err := s.others(f); err != nil {
				return err
			}
		}
		for _, sec := range f.Sections("") {
			if !s.ours(sec) {
				continue
			}
			if !slices.ContainsFunc(s.sections, func(o savedSection) bool { return o.name == sec.Name() && o.typ == sec.Type() }) {
				f.Delete(sec)
			}
		}
		for _, old := range s.sections {
			sec, ok := f.Section(old.name)
			if !ok {
				var err error
				if sec, err = f.Add(old.typ, old.name); err != nil {
					return err
				}
			}
			for _, o := range sec.Options() {
				if !slices.ContainsFunc(old.options, func(p file.Option) bool { return p.Name == o.Name }) {
					sec.Unset(o.Name)
				}
			}
			for _, o := range old.options {
				var err error
				if o.IsList {
					err = sec.SetList(o.Name, o.Values)
				} else {
					err = sec.Set(o.Name, o.Values[0])
				}
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("put our sections of %s back: %w", s.Package, err)
	}
	return nil
}

func sameOption(a, b file.Option) bool {
	return a.Name == b.Name && a.IsList == b.IsList && slices.Equal(a.Values, b.Values)
}

// boolean reads an option as OpenWrt's config_get_bool does.
func boolean(s *file.Section, option string, normally bool) bool {
	switch v, _ := s.Get(option); v {
	case "1", "on", "true", "yes", "enabled":
		return true
	case "0", "off", "false", "no", "disabled":
		return false
	}
	return normally
}

// Rest is a digest of all in a file that is not ours.
func Rest(f *file.File) string {
	if f == nil {
		return ""
	}
	h := fnv.New64a()
	for _, s := range f.Sections("") {
		if _, ours := model.SectionOwner(s.Name()); !ours {
			fmt.Fprintf(h, "%q %q %+v\n", s.Type(), s.Name(), s.Options())
		}
	}
	return strconv.FormatUint(h.Sum64(), 16)
}
