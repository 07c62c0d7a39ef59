// Package netlink is a Linux device whose managed interface nobody else rules:
// addresses and routes by netlink, name servers in a resolv.conf.
package netlink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	nl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"homeconf/src/rtnetlink"
	"homeconf/src/system"
	"homeconf/src/system/dhcp"
)

// routeProtocol marks our routes in the kernel (rtnetlink(7): values above
// RTPROT_STATIC are free for user space); 16 is RTPROT_DHCP.
const (
	routeProtocol     = 72
	routeProtocolDHCP = unix.RTPROT_DHCP
)

// Config says what is managed and where things are.
type Config struct {
	Interface  string
	ResolvConf string // the file with the name servers; empty: they are not ours
	RunDir     string // for what is ours and lives as long as the kernel's state
	Proc, Sys  string // roots; empty: /proc and /sys
	Log        *slog.Logger
}

// Device is one managed interface, by netlink.
type Device struct {
	c Config
	s *rtnetlink.Socket

	mu  sync.Mutex // held while the interface is changed or looked at for a change
	own ledger
}

var (
	_ system.Device = (*Device)(nil)
	_ system.Leaser = (*Device)(nil)
)

// Open opens the device in the network namespace of the calling thread. The
// interface need not be there yet.
func Open(c Config) (*Device, error) {
	if c.Proc == "" {
		c.Proc = "/proc"
	}
	if c.Sys == "" {
		c.Sys = "/sys"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Interface == "" || len(c.Interface) >= unix.IFNAMSIZ || strings.ContainsAny(c.Interface, "/ ") {
		return nil, fmt.Errorf("network interface %.40q: not a name of an interface", c.Interface)
	}
	if err := os.MkdirAll(c.RunDir, 0o755); err != nil {
		return nil, fmt.Errorf("making the run folder: %w", err)
	}
	s, err := rtnetlink.Open()
	if err != nil {
		return nil, fmt.Errorf("opening netlink: %w", err)
	}
	d := &Device{c: c, s: s}
	d.own = d.readLedger()
	return d, nil
}

// Close gives the netlink socket back.
func (d *Device) Close() error {
	d.s.Close()
	return nil
}

func (d *Device) ledgerPath() string {
	return filepath.Join(d.c.RunDir, "netlink-"+d.c.Interface+".json")
}

// link finds the managed interface.
func (d *Device) link() (nl.Link, error) {
	l, err := d.s.Link(d.c.Interface)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", d.c.Interface, err)
	}
	return l, nil
}

// Lease implements system.Leaser.
func (d *Device) Lease(ctx context.Context) (system.Lease, error) {
	return dhcp.Lease(ctx, d.c.Interface)
}

// Held implements system.Leaser.
func (d *Device) Held() (system.Lease, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.own.Lease == nil {
		return system.Lease{}, false
	}
	return *d.own.Lease, true
}

// Renew implements system.Leaser.
func (d *Device) Renew(ctx context.Context, l system.Lease) (system.Lease, error) {
	return dhcp.Renew(ctx, d.c.Interface, l)
}

// Release implements system.Leaser. The server is told while the interface
// still has an address: without one the message would not leave (RFC 2131,
// section 4.4.6, sends it by unicast).
func (d *Device) Release(ctx context.Context, l system.Lease) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	from := l.Address.Addr()
	link, err := d.link()
	if err != nil {
		return err
	}
	have, err := d.addresses(link)
	if err != nil {
		return err
	}
	if !hasAddr(have, from) {
		// A lease that came too late was never put on the interface: the
		// message may come from any address that reaches the server.
		if len(have) == 0 {
			if err := d.addAddress(link, l.Address, 60); err != nil {
				return err
			}
		} else {
			from = have[0].prefix.Addr()
		}
	}
	// The message must have left before its source address goes.
	told := dhcp.Release(ctx, d.c.Interface, from, l)
	if err := d.reachServer(ctx, l.Server); err != nil {
		told = errors.Join(told, err)
	}
	var gone error
	if !d.own.isStatic(l.Address.Addr()) {
		gone = d.removeAddress(link, l.Address.Addr())
		gone = errors.Join(gone, d.removeRoutes(link, func(r nl.Route) bool { return r.Protocol == routeProtocolDHCP }))
	}
	if len(d.own.Static) == 0 {
		gone = errors.Join(gone, d.setDNS(nil)) // the lease's
	}
	own := d.own.clone()
	own.Lease = nil
	return errors.Join(told, gone, d.writeLedger(own))
}

func hasAddr(have []address, a netip.Addr) bool {
	for _, h := range have {
		if h.prefix.Addr() == a {
			return true
		}
	}
	return false
}
