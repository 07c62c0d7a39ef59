// Package multicast looks at the kernel's IPv4 multicast routing, and at
// whether an IGMP proxy drives it. It changes nothing.
package multicast

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Kernel is a proc file system.
type Kernel struct{ Proc string }

// New looks below a root, "" for /proc.
func New(proc string) Kernel {
	if proc == "" {
		proc = "/proc"
	}
	return Kernel{Proc: proc}
}

// VIFs are the virtual interfaces of the multicast router in our own network
// namespace; none when no proxy runs, or the kernel can't route multicast.
func (k Kernel) VIFs() ([]VIF, error) {
	return read(k, "ip_mr_vif", ParseVIFs)
}

// Routes is the multicast forwarding cache. It is empty until a packet flows.
func (k Kernel) Routes() ([]Route, error) {
	return read(k, "ip_mr_cache", ParseRoutes)
}

// Memberships are the groups that this host has joined, by device: on the
// upstream device those that the proxy joined for the home.
func (k Kernel) Memberships() (map[string][]netip.Addr, error) {
	return read(k, "igmp", ParseMemberships)
}

// read opens a file of our own network namespace. One that isn't there is
// empty: the kernel was built without it.
func read[T any](k Kernel, name string, parse func(io.Reader) (T, error)) (T, error) {
	var none T
	path := filepath.Join(k.Proc, "self", "net", name)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return none, err
	}
	defer f.Close()
	v, err := parse(f)
	if err != nil {
		return none, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

// Running says whether a program of that name runs in our own network
// namespace. A zombie has no namespace, and does not count.
func (k Kernel) Running(name string) (bool, error) {
	if len(name) > 15 {
		name = name[:15] // TASK_COMM_LEN
	}
	own, err := os.Readlink(filepath.Join(k.Proc, "self", "ns", "net"))
	if err != nil {
		return false, fmt.Errorf("find our network namespace: %w", err)
	}
	d, err := os.Open(k.Proc)
	if err != nil {
		return false, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return false, err
	}
	for _, pid := range names {
		if _, err := strconv.ParseUint(pid, 10, 32); err != nil {
			continue
		}
		comm, err := os.ReadFile(filepath.Join(k.Proc, pid, "comm"))
		if err != nil || strings.TrimSuffix(string(comm), "\n") != name {
			continue // the process may have ended meanwhile
		}
		if ns, err := os.Readlink(filepath.Join(k.Proc, pid, "ns", "net")); err == nil && ns == own {
			return true, nil
		}
	}
	return false, nil
}
