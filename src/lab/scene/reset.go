package scene

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"homeconf/src/lab"
)

// Snapshot is what a home was like before homeconf came to it.
type Snapshot struct {
	config map[string][]byte
}

// Snapshot takes it. No daemon of homeconf's may have run yet.
func (h *Home) Snapshot() (*Snapshot, error) {
	s := &Snapshot{config: map[string][]byte{}}
	files, err := os.ReadDir(h.ConfigDir)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if s.config[f.Name()], err = os.ReadFile(filepath.Join(h.ConfigDir, f.Name())); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Restore kills homeconf and puts the home back as it was: a world is used
// again in a tenth of the time that a new one takes.
func (h *Home) Restore(ctx context.Context, s *Snapshot, boxes ...*Box) error {
	if h.Configurator != nil {
		h.Configurator.Kill()
	}
	var errs []error
	for _, b := range boxes {
		errs = append(errs, b.forget())
	}
	errs = append(errs, empty(h.StateDir), empty(h.RunDir), os.RemoveAll(h.Leases), h.restoreConfig(s))
	// iptables-restore empties the table first, and the world has nothing there.
	rules := filepath.Join(h.GW.Dir, "mangle.rules")
	errs = append(errs, os.WriteFile(rules, []byte("*mangle\nCOMMIT\n"), 0o644))
	_, err := h.GW.Run(ctx, "iptables-restore", "-w", "5", rules)
	return errors.Join(append(errs, err)...)
}

// forget kills the agent, and makes its box as it was before the first start.
func (b *Box) forget() error {
	if b.Agent != nil {
		b.Agent.Kill()
	}
	return errors.Join(b.Unplug(), b.IP("addr", "flush", "dev", "eth0"), empty(b.StateDir), empty(b.RunDir), os.WriteFile(b.Resolv, nil, 0o644))
}

// restoreConfig writes the files that differ by rename, as an editor does.
func (h *Home) restoreConfig(s *Snapshot) error {
	files, err := os.ReadDir(h.ConfigDir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if _, was := s.config[f.Name()]; !was {
			if err := os.RemoveAll(filepath.Join(h.ConfigDir, f.Name())); err != nil {
				return err
			}
		}
	}
	for name, text := range s.config {
		path := filepath.Join(h.ConfigDir, name)
		if now, err := os.ReadFile(path); err == nil && slices.Equal(now, text) {
			continue
		}
		if err := os.WriteFile(h.GW.Dir+"/restored", text, 0o644); err != nil {
			return err
		}
		if err := os.Rename(h.GW.Dir+"/restored", path); err != nil {
			return err
		}
	}
	return nil
}

func empty(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Mkdir(dir, 0o700)
}

// Transcript is all that a box's configuration has left in the home, as text:
// on the box, in the gateway's files and kernel, and in what homeconf keeps.
// What differs from run to run by its nature, times and generations, is not in
// it, but whether both sides have the same generation is.
func (h *Home) Transcript(ctx context.Context, b *Box) (string, error) {
	var out strings.Builder
	var errs []error
	part := func(title, text string, err error) {
		fmt.Fprintf(&out, "== %s\n%s\n", title, strings.TrimSpace(text))
		errs = append(errs, err)
	}
	run := func(host *lab.Host, words ...string) {
		text, err := host.Run(ctx, words...)
		part(host.Name+": "+strings.Join(words, " "), text, err)
	}
	file := func(title, path string) {
		text, err := os.ReadFile(path)
		part(title, string(text), err)
	}
	addrs, err := b.Addresses("eth0")
	part("the box's addresses", strings.Join(addrs, " "), err)
	run(b.Host, "ip", "route")
	file("the box's resolv.conf", b.Resolv)
	run(h.GW, "iptables", "-t", "mangle", "-S")
	for _, name := range []string{"dhcp", "igmpproxy", "firewall", "network"} {
		file("the gateway's "+name, filepath.Join(h.ConfigDir, name))
	}
	part("dnsmasq's configuration", h.Rendered("dnsmasq"), nil)
	for _, dir := range []string{h.StateDir, b.StateDir} {
		text, err := tree(dir)
		part("files in "+filepath.Base(filepath.Dir(dir))+"'s state", text, err)
	}
	st, err := b.Status(ctx)
	errs = append(errs, err)
	d, err := h.Show(ctx, st.Device)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	r := d.Record
	same := r.Desired != nil && st.Settings != nil && r.Desired.Generation == st.Settings.Generation && r.Confirmed == r.Desired.Generation
	fmt.Fprintf(&out, "== homeconf\nstate %s, progress %s, address %s (%s), chosen %+v\nbox: %s, commit %s, the same generation on both sides: %v\nproblem at the box: %q\n",
		r.State, d.Progress, d.Address, r.Address, r.Choice, st.State, st.Commit, same, st.Problem)
	for _, f := range d.Problems {
		fmt.Fprintf(&out, "finding %s\n", f.ID)
	}
	return strings.ReplaceAll(out.String(), h.Lab.Dir, "LAB"), nil
}

// Stranger is the transcript of a box that was reset: what it has on itself.
func (b *Box) Stranger(ctx context.Context) (string, error) {
	addrs, err := b.Addresses("eth0")
	route, err2 := b.Run(ctx, "ip", "route")
	files, err3 := tree(b.StateDir)
	resolv, err4 := os.ReadFile(b.Resolv)
	st, err5 := b.Status(ctx)
	return fmt.Sprintf("addresses %v\nroutes %q\nfiles %q\nresolv.conf %q\nhome %q, digits shown %v, settings %v, commit %s, problem %q\n",
		addrs, route, files, resolv, st.Home, st.Digits != "", st.Settings, st.Commit, st.Problem), errors.Join(err, err2, err3, err4, err5)
}

// tree lists a folder's files.
func tree(dir string) (string, error) {
	var out strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			fmt.Fprintln(&out, rel)
		}
		return err
	})
	return out.String(), err
}
