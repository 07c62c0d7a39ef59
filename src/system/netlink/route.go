package netlink

import (
	"errors"
	"fmt"
	"net/netip"

	nl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routes lists the interface's default routes in the main table, the one that
// is used first.
func (d *Device) routes(link nl.Link) ([]nl.Route, error) {
	list, err := d.s.DefaultRoutes()
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	var out []nl.Route
	for _, r := range list {
		if r.LinkIndex != link.Attrs().Index || r.Gw == nil {
			continue
		}
		out = append(out, r)
		for i := len(out) - 1; i > 0 && out[i].Priority < out[i-1].Priority; i-- {
			out[i], out[i-1] = out[i-1], out[i]
		}
	}
	return out, nil
}

// gateway is the default gateway by the managed interface, zero where there is none.
func (d *Device) gateway(link nl.Link) (netip.Addr, error) {
	r, err := d.routes(link)
	if err != nil || len(r) == 0 {
		return netip.Addr{}, err
	}
	a, _ := netip.AddrFromSlice(r[0].Gw)
	return a.Unmap(), nil
}

// setRoute makes the one default route by this interface go by gw; an invalid
// gw takes ours away.
func (d *Device) setRoute(link nl.Link, gw, src netip.Addr, protocol nl.RouteProtocol) error {
	ours := func(r nl.Route) bool { return r.Protocol == routeProtocol || r.Protocol == routeProtocolDHCP }
	if !gw.IsValid() {
		return d.removeRoutes(link, ours)
	}
	have, err := d.routes(link)
	if err != nil {
		return err
	}
	want := nl.Route{LinkIndex: link.Attrs().Index, Gw: gw.AsSlice(), Src: src.AsSlice(), Protocol: protocol, Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST}
	same := func(r nl.Route) bool {
		return r.Priority == 0 && r.Gw.Equal(want.Gw) && r.Src.Equal(want.Src) && r.Protocol == protocol
	}
	there := false
	for _, r := range have {
		there = there || same(r)
	}
	if !there {
		// Replaces the route of the same metric, whoever's it was: two
		// default routes would be used as the kernel likes.
		if err := d.s.ReplaceDefault(&want); err != nil {
			return fmt.Errorf("setting the default route via %s: %w", gw, err)
		}
	}
	return d.removeRoutes(link, func(r nl.Route) bool { return ours(r) && !same(r) })
}

// removeRoutes takes away those default routes of the interface that are chosen.
func (d *Device) removeRoutes(link nl.Link, chosen func(nl.Route) bool) error {
	have, err := d.routes(link)
	if err != nil {
		return err
	}
	for _, r := range have {
		if !chosen(r) {
			continue
		}
		if err := d.s.DeleteDefault(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("removing the default route via %s: %w", r.Gw, err)
		}
	}
	return nil
}
