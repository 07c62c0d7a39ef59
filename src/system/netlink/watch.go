package netlink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// together is how long events are gathered after a first one.
	together = 10 * time.Millisecond
	// groupsPace is how often the joined groups are read where the kernel
	// (before 6.14) doesn't tell of changes.
	groupsPace = 10 * time.Second
)

// Watch implements system.Device: netlink events of links, IPv4 addresses,
// IPv4 routes and, from Linux 6.14, joined groups. What the events say is not
// looked at: the next Report does.
func (d *Device) Watch(ctx context.Context, changed func()) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("opening netlink for events: %w", err)
	}
	f := os.NewFile(uintptr(fd), "netlink")
	defer f.Close()
	groups := uint32(1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV4_ROUTE-1))
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return fmt.Errorf("subscribing to netlink events: %w", err)
	}
	told := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.RTNLGRP_IPV4_MCADDR) == nil
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()

	before, _ := d.groups()
	buf := make([]byte, 16<<10)
	for {
		if !told {
			_ = f.SetReadDeadline(time.Now().Add(groupsPace))
		}
		_, err := f.Read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			if now, err := d.groups(); err == nil && !slices.Equal(now, before) {
				before = now
				changed()
			}
			continue
		case err != nil && !errors.Is(err, unix.ENOBUFS): // ENOBUFS: more events than fit
			return fmt.Errorf("reading netlink events: %w", err)
		}
		_ = f.SetReadDeadline(time.Now().Add(together))
		for err == nil || errors.Is(err, unix.ENOBUFS) {
			_, err = f.Read(buf)
		}
		_ = f.SetReadDeadline(time.Time{})
		if ctx.Err() != nil {
			return nil
		}
		before, _ = d.groups()
		changed()
	}
}
