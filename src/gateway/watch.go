package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"homeconf/src/model"
)

const (
	// watchQuiet is how long events are gathered: one commit of somebody's,
	// or one restart of the firewall, makes several.
	watchQuiet = 50 * time.Millisecond
	// watchPause is the pause after a look, so that a flapping interface or a
	// tool that writes in a loop costs a bounded number of looks. A restart of
	// the firewall has to be noticed well within two seconds.
	watchPause = 500 * time.Millisecond
	// watchAgain is the pause before a source that failed is opened anew.
	watchAgain = time.Second
)

// watched are the UCI packages that the gateway's facts come from.
var watched = []string{"dhcp", "firewall", "igmpproxy", "network", "omcproxy", "sqm"}

// Watch tells of changes that somebody else made to what Facts and Set look at:
// UCI files, addresses and routes, nftables rules, services. It waits for the
// kernel's events and OpenWrt's, and does nothing while there are none. The legacy tables of iptables
// have no events; who flushes those has to say so (the firewall include does).
func (r *Router) Watch(ctx context.Context, changed func(what string)) error {
	events := make(chan source, 64)
	g, ctx := errgroup.WithContext(ctx)
	open := []struct {
		from source
		open func() (*os.File, error)
	}{
		{fromFiles, r.openFiles},
		{fromNetwork, func() (*os.File, error) {
			return openNetlink(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE)
		}},
		{fromFirewall, func() (*os.File, error) {
			return openNetlink(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
		}},
	}
	for _, o := range open {
		g.Go(func() error {
			for ctx.Err() == nil {
				err := follow(ctx, o.open, o.from, events)
				if ctx.Err() != nil {
					return nil
				}
				r.log.Warn("changes of the gateway can't be watched", "source", string(o.from), "err", err)
				if errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) {
					return nil // it won't get better; the next pass looks anyhow
				}
				sleep(ctx, watchAgain)
			}
			return nil
		})
	}
	if r.cfg.System != nil {
		g.Go(func() error { r.followSystem(ctx, events); return nil })
	}
	g.Go(func() error { r.tellChanges(ctx, events, changed); return nil })
	return g.Wait()
}

// source is where an event came from.
type source string

const (
	fromFiles    source = "settings"
	fromNetwork  source = "network"
	fromFirewall source = "firewall"
	fromServices source = "services"
)

// tellChanges gathers events, leaves out what we did ourselves, and tells the
// rest.
func (r *Router) tellChanges(ctx context.Context, events <-chan source, changed func(string)) {
	for ctx.Err() == nil {
		from := map[source]bool{}
		select {
		case <-ctx.Done():
			return
		case s := <-events:
			from[s] = true
		}
		sleep(ctx, watchQuiet)
		for more := true; more; {
			select {
			case s := <-events:
				from[s] = true
			default:
				more = false
			}
		}
		var what []string
		for s := range from {
			if s == fromServices || s == fromNetwork && r.sidesChanged(ctx) || s == fromFiles && r.filesChanged() || s == fromFirewall && r.marksChanged(ctx) {
				what = append(what, string(s))
			}
		}
		if len(what) > 0 && ctx.Err() == nil {
			slices.Sort(what)
			changed(strings.Join(what, ", "))
		}
		sleep(ctx, watchPause)
	}
}

// follow reads events until the source fails or ctx ends. What an event says
// does not matter: whoever is told looks at the whole.
func follow(ctx context.Context, open func() (*os.File, error), from source, events chan<- source) error {
	f, err := open()
	if err != nil {
		return err
	}
	defer f.Close()
	defer context.AfterFunc(ctx, func() { f.Close() })()
	tell := func() {
		select {
		case events <- from:
		default: // as many are waiting already
		}
	}
	tell() // what happened before this point was heard by nobody
	buf := make([]byte, 16<<10)
	for {
		switch _, err := f.Read(buf); {
		case errors.Is(err, unix.ENOBUFS): // more happened than there was room for
		case err != nil:
			return err
		}
		tell()
	}
}

// followSystem is follow for what OpenWrt's daemons tell.
func (r *Router) followSystem(ctx context.Context, events chan<- source) {
	err := r.cfg.System.Watch(ctx, func(what string) {
		s := fromServices
		if what == "network" {
			s = fromNetwork
		}
		select {
		case events <- s:
		default:
		}
	})
	if err != nil && ctx.Err() == nil {
		r.log.Warn("OpenWrt's daemons are not listened to", "err", err)
	}
}

// openNetlink opens a socket that hears the given groups of the kernel's.
func openNetlink(family int, groups ...int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, family)
	if err != nil {
		return nil, fmt.Errorf("open netlink family %d: %w", family, err)
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	for _, g := range groups {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g)
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("join the groups of netlink family %d: %w", family, err)
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

// openFiles watches the configuration folder, not the files in it: UCI files
// are replaced by rename, and a file's own watch ends with the old file.
func (r *Router) openFiles() (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	const mask = unix.IN_MOVED_TO | unix.IN_CLOSE_WRITE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_ONLYDIR
	if r.cfg.System != nil {
		// OpenWrt makes it when it is first needed, and then we'd not hear.
		if err := os.Mkdir(r.runPath(), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			r.log.Warn("files that override settings are not watched", "err", err)
		}
	}
	for i, dir := range []string{r.cfg.ConfigDir, r.runPath()} {
		if _, err := unix.InotifyAddWatch(fd, dir, mask); err != nil && (i == 0 || !errors.Is(err, fs.ErrNotExist)) {
			unix.Close(fd)
			return nil, fmt.Errorf("watch folder %s: %w", dir, err)
		}
	}
	return os.NewFile(uintptr(fd), "inotify"), nil
}

// stamp tells one version of a file from another without reading it.
type stamp struct {
	inode uint64
	mtime unix.Timespec
	size  int64
}

func (r *Router) stampOf(pkg string) stamp {
	var st unix.Stat_t
	path := filepath.Join(r.cfg.ConfigDir, pkg)
	if r.dir.Overridden(pkg) {
		path = filepath.Join(r.runPath(), pkg)
	}
	if unix.Stat(path, &st) != nil {
		return stamp{}
	}
	return stamp{st.Ino, st.Mtim, st.Size}
}

func (r *Router) runPath() string { return cmp.Or(r.dir.RunPath, "/var/run/uci") }

// stamps are the versions of files that the last look was at, or that Set made
// of those.
type stamps struct {
	mu  sync.Mutex
	pkg map[string]stamp
	lan model.LAN
	wan model.WAN
}

// lookedAt notes how the gateway's two sides were.
func (s *stamps) lookedAt(n model.Network) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lan, s.wan = n.LAN, n.WAN
}

// sidesChanged says whether an address, a route or a link changed that counts:
// devices that come and go at the bridge make events too.
func (r *Router) sidesChanged(ctx context.Context) bool {
	var n model.Network
	_, _, err := r.sides(ctx, &n)
	r.stamps.mu.Lock()
	defer r.stamps.mu.Unlock()
	return err != nil || n.LAN != r.stamps.lan || n.WAN != r.stamps.wan
}

// looking notes, before the files are read, which versions they are.
func (r *Router) looking() {
	now := map[string]stamp{}
	for _, pkg := range watched {
		now[pkg] = r.stampOf(pkg)
	}
	r.stamps.mu.Lock()
	defer r.stamps.mu.Unlock()
	r.stamps.pkg = now
}

// seen says whether a file is the version that was looked at.
func (r *Router) seen(pkg string) bool {
	now := r.stampOf(pkg)
	r.stamps.mu.Lock()
	defer r.stamps.mu.Unlock()
	was, ok := r.stamps.pkg[pkg]
	return ok && was == now
}

// wrote notes that Set has written a package which stood as it was looked at.
func (r *Router) wrote(pkg string) {
	now := r.stampOf(pkg)
	r.stamps.mu.Lock()
	defer r.stamps.mu.Unlock()
	if r.stamps.pkg != nil {
		r.stamps.pkg[pkg] = now
	}
}

// filesChanged takes Set's lock, so that a write under way is whole first.
func (r *Router) filesChanged() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(watched, func(pkg string) bool { return !r.seen(pkg) })
}

// marksChanged compares our chain with what Set left there.
func (r *Router) marksChanged(ctx context.Context) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.put == nil {
		return false // nothing of ours is there
	}
	t, err := r.tables()
	if err != nil {
		return true
	}
	now, err := t.Read(ctx)
	return err != nil || !now.Equal(*r.put)
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
