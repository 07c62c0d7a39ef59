package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// pending remembers, over a crash of ours, that the DHCP server has been given a
// configuration which it may not have loaded yet.
//
// It matters because a DISCOVER for a MAC address that dnsmasq doesn't know to
// be reserved puts it into a ping check of three seconds, during which it can't
// restart. OpenWrt and the lab restart dnsmasq on a change; so what is kept is
// the DHCP sockets that were open before the write, and loaded means that there
// is another one. A reboot may forget it: the server starts then, too.
type pending struct {
	path string
	proc string

	mu     sync.Mutex
	loaded bool // state is known
	state  *pendingState
}

type pendingState struct {
	Sockets []uint64 `json:"Sockets"` // inodes, before the write
	Reload  []string `json:"Reload"`  // packages whose reload was not yet asked for
	Boot    string   `json:"Boot"`    // the boot that the inodes are of
}

// bootps is the server's port of DHCP (RFC 2131, 4.1).
const bootps = 67

// sockets lists the inodes of the DHCP servers' sockets in our own network
// namespace.
func (p *pending) sockets() ([]uint64, error) {
	b, err := os.ReadFile(filepath.Join(p.proc, "self", "net", "udp"))
	if err != nil {
		return nil, fmt.Errorf("look for the DHCP server: %w", err)
	}
	var out []uint64
	for l := range strings.Lines(string(b)) {
		f := strings.Fields(l)
		if len(f) < 10 {
			continue
		}
		_, port, ok := strings.Cut(f[1], ":")
		if n, err := strconv.ParseUint(port, 16, 16); !ok || err != nil || n != bootps {
			continue
		}
		if inode, err := strconv.ParseUint(f[9], 10, 64); err == nil {
			out = append(out, inode)
		}
	}
	return out, nil
}

// begin is called before a package is written.
func (p *pending) begin(pkgs ...string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.get()
	next := pendingState{}
	if s != nil {
		next = *s
	}
	if slices.Contains(pkgs, "dhcp") {
		have, err := p.sockets()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// Sockets of before an earlier write that was not loaded either stay
		// listed: none of them will do.
		next.Sockets = union(next.Sockets, have)
	}
	next.Reload = union(next.Reload, pkgs)
	return p.put(&next)
}

// reloaded is called when a reload was asked for.
func (p *pending) reloaded(pkg string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.get()
	if s == nil {
		return nil
	}
	next := *s
	next.Reload = slices.DeleteFunc(slices.Clone(s.Reload), func(have string) bool { return have == pkg })
	if len(next.Reload) == 0 && len(next.Sockets) == 0 {
		return p.put(nil)
	}
	return p.put(&next)
}

// asks lists the packages whose reload was cut off.
func (p *pending) asks() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.get(); s != nil {
		return slices.Clone(s.Reload)
	}
	return nil
}

// settled waits until the DHCP server has loaded what was written last.
func (p *pending) settled(ctx context.Context) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 8*time.Millisecond) {
		ok, err := p.look()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.New("the DHCP server has not restarted since its configuration changed")
		case <-time.After(pause):
		}
	}
}

func (p *pending) look() (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.get()
	if s == nil || len(s.Sockets) == 0 {
		return true, nil
	}
	have, err := p.sockets()
	if err != nil {
		return false, err
	}
	if !slices.ContainsFunc(have, func(i uint64) bool { return !slices.Contains(s.Sockets, i) }) {
		return false, nil
	}
	next := *s
	next.Sockets = nil
	if len(next.Reload) == 0 {
		return true, p.put(nil)
	}
	return true, p.put(&next)
}

func (p *pending) get() *pendingState {
	if !p.loaded {
		p.loaded = true
		// A torn or missing file only costs the wait.
		if b, err := os.ReadFile(p.path); err == nil {
			var s pendingState
			if json.Unmarshal(b, &s) == nil && s.Boot == p.boot() {
				p.state = &s
			}
		}
	}
	return p.state
}

// put needs no sync to the disk: only a power cut loses it, which restarts the
// server.
func (p *pending) put(s *pendingState) error {
	if s == nil {
		if err := os.Remove(p.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("note that the DHCP server is up to date: %w", err)
		}
		p.state = nil
		return nil
	}
	s.Boot = p.boot()
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := replace(p.path, b, false); err != nil {
		return fmt.Errorf("note that a reload is due: %w", err)
	}
	p.state = s
	return nil
}

// boot names this run of the system.
func (p *pending) boot() string {
	b, err := os.ReadFile(filepath.Join(p.proc, "sys", "kernel", "random", "boot_id"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func union[T comparable](a, b []T) []T {
	out := slices.Clone(a)
	for _, v := range b {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}
