package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"

	"homeconf/src/gateway/openwrt"
	gwuci "homeconf/src/gateway/uci"
	"homeconf/src/model"
	"homeconf/src/rtnetlink"
	"homeconf/src/uci"
)

// Bounds on what strangers on the LAN can make the gateway list.
const (
	maxNeighbors   = 1024
	maxPortMACs    = 256
	maxLeaseFile   = 1 << 20
	maxBridgePorts = 64
)

// Facts looks at the configuration and at the kernel. Where the two differ, the
// kernel is right.
func (r *Router) Facts(ctx context.Context) (model.Network, error) {
	var n model.Network
	if err := ctx.Err(); err != nil {
		return n, err
	}
	fail := func(err error) (model.Network, error) {
		return model.Network{}, fmt.Errorf("facts of the gateway: %w", err)
	}
	r.looking()
	dhcp, err := r.load("dhcp")
	if err != nil {
		return fail(err)
	}
	links, lan, err := r.sides(ctx, &n)
	if err != nil {
		return fail(err)
	}
	r.stamps.lookedAt(n)
	if n.Ports, err = r.ports(links, lan); err != nil {
		return fail(err)
	}
	if n.Neighbors, err = neighbors(lan); err != nil {
		return fail(err)
	}
	n.Pool = gwuci.Pool(dhcp, n.LAN.Network, n.LAN.Prefix)
	n.Reservations = gwuci.Hosts(dhcp)
	n.Owned, n.Rest = r.owned(), gwuci.Rest(dhcp)
	if n.Leases, err = leases(gwuci.LeaseFile(dhcp)); err != nil {
		return fail(err)
	}
	n.Rates = r.rates(links, n.WAN)
	n.Firewall = r.firewall()
	n.Offloading = gwuci.Offloading(r.lenient("firewall"))
	if n.Multicast, err = r.multicastFact(); err != nil {
		return fail(err)
	}
	return n, nil
}

// owned lists the devices that the ledger has a reservation of. Without a
// ledger nothing is known to be lost.
func (r *Router) owned() []model.DeviceID {
	objects, err := r.ledger.read()
	if err != nil {
		r.log.Warn("what homeconf owns on the gateway is taken from the gateway", "err", err)
	}
	var ids []model.DeviceID
	for _, o := range objects {
		if o.What == WhatReservation && !slices.Contains(ids, o.Device) {
			ids = append(ids, o.Device)
		}
	}
	return ids
}

// sides looks at the home's side of the gateway and at the outside's.
func (r *Router) sides(ctx context.Context, n *model.Network) (links []netlink.Link, lan netlink.Link, err error) {
	file, err := r.load("network")
	if err != nil {
		return nil, nil, err
	}
	networks := gwuci.Networks(file)
	r.askNetifd(ctx)
	if links, err = (*rtnetlink.Socket)(nil).Links(); err != nil {
		return nil, nil, fmt.Errorf("list network devices: %w", err)
	}
	if lan = findLink(links, r.cfg.LANDevice); lan == nil {
		return nil, nil, fmt.Errorf("LAN device %s does not exist", r.cfg.LANDevice)
	}
	if n.LAN, err = r.lan(lan, networks); err != nil {
		return nil, nil, err
	}
	n.WAN, err = r.wan(links, networks)
	return links, lan, err
}

func leases(path string) ([]model.Lease, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO would hold us up for ever
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the leases: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("read the leases: %s is no regular file", path), err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxLeaseFile))
	if err != nil {
		return nil, fmt.Errorf("read the leases: %w", err)
	}
	return model.ParseLeases(b), nil
}

// askNetifd has its interfaces told, where there is one. Without an answer the
// last one holds, and the configuration where there was none.
func (r *Router) askNetifd(ctx context.Context) {
	if r.cfg.System == nil {
		return
	}
	list, err := r.cfg.System.Interfaces(ctx)
	if err != nil {
		r.log.Warn("the networks' devices are taken from the configuration", "err", err)
		return
	}
	known := make(map[string]openwrt.Interface, len(list))
	for _, i := range list {
		known[i.Name] = i
	}
	r.netifd.Store(&known)
}

// lan is the home's side: of the kernel's addresses the one that is also
// configured, else the first; without any the configured one.
func (r *Router) lan(link netlink.Link, networks []gwuci.Network) (model.LAN, error) {
	l := model.LAN{Network: r.cfg.LANNetwork, Device: r.cfg.LANDevice}
	copy(l.MAC[:], link.Attrs().HardwareAddr)
	var configured []netip.Prefix
	if i := slices.IndexFunc(networks, func(n gwuci.Network) bool { return n.Name == l.Network }); i >= 0 {
		configured = networks[i].Prefixes
	}
	addrs, err := (*rtnetlink.Socket)(nil).Addresses(link.Attrs().Index)
	if err != nil {
		return l, fmt.Errorf("list addresses of %s: %w", l.Device, err)
	}
	for _, a := range addrs {
		p, ip := a.Prefix, a.Prefix.Addr()
		if ip.IsLinkLocalUnicast() {
			continue
		}
		also := slices.ContainsFunc(configured, func(c netip.Prefix) bool { return c.Addr() == ip })
		if !l.Prefix.IsValid() || also {
			l.Prefix = p
			if also {
				break
			}
		}
	}
	if !l.Prefix.IsValid() && len(configured) > 0 {
		l.Prefix = configured[0]
	}
	return l, nil
}

// wan is the outside's: the device of the default route, else the one that the
// configuration names.
func (r *Router) wan(links []netlink.Link, networks []gwuci.Network) (model.WAN, error) {
	var w model.WAN
	configured := ""
	if i := slices.IndexFunc(networks, func(n gwuci.Network) bool { return n.Name == r.cfg.WANNetwork }); i >= 0 {
		w.Network = r.cfg.WANNetwork
		configured = r.deviceOf(networks, w.Network)
		w.Device = configured
	}
	routes, err := (*rtnetlink.Socket)(nil).DefaultRoutes()
	if err != nil {
		return w, fmt.Errorf("list default routes: %w", err)
	}
	best := -1
	for i, rt := range routes {
		if rt.LinkIndex > 0 && (best < 0 || rt.Priority < routes[best].Priority) {
			best = i
		}
	}
	if best >= 0 {
		if l := linkAt(links, routes[best].LinkIndex); l != nil && l.Attrs().Name != r.cfg.LANDevice && l.Attrs().Name != w.Device {
			w.Device = l.Attrs().Name
			if i := slices.IndexFunc(networks, func(n gwuci.Network) bool {
				return n.Name != r.cfg.LANNetwork && r.deviceOf(networks, n.Name) == w.Device
			}); i >= 0 {
				w.Network = networks[i].Name
			}
		}
	}
	if l := findLink(links, w.Device); l != nil {
		w.Up = isUp(l)
		w.SpeedMbps = r.speed(w.Device)
		// A tunnel such as pppoe-wan has no speed; what it runs over has.
		if i := slices.IndexFunc(networks, func(n gwuci.Network) bool { return n.Name == w.Network }); i >= 0 && w.SpeedMbps == 0 {
			w.SpeedMbps = r.speed(networks[i].Device)
		}
	}
	return w, nil
}

// deviceOf is the Linux device on which a network's packets travel.
// What netifd says of it comes before what the configuration lets one expect.
func (r *Router) deviceOf(networks []gwuci.Network, name string) string {
	if name == r.cfg.LANNetwork {
		return r.cfg.LANDevice
	}
	if known := r.netifd.Load(); known != nil {
		if i, ok := (*known)[name]; ok && i.Device != "" {
			return i.Device
		}
	}
	// An alias "@wan" may lead on; a chain of aliases ends somewhere.
	for range 4 {
		i := slices.IndexFunc(networks, func(n gwuci.Network) bool { return n.Name == name })
		if i < 0 {
			return ""
		}
		switch n := networks[i]; {
		case n.Proto == "pppoe" || n.Proto == "pptp" || n.Proto == "l2tp" || n.Proto == "ppp" || n.Proto == "3g":
			return n.Proto + "-" + n.Name
		case strings.HasPrefix(n.Device, "@"):
			name = n.Device[1:]
		default:
			return n.Device
		}
	}
	return ""
}

// rates are the owner's word: in our own options, else in sqm's.
func (r *Router) rates(links []netlink.Link, wan model.WAN) model.Rates {
	rates := model.Rates{DownMbps: r.cfg.DownMbps, UpMbps: r.cfg.UpMbps}
	if rates.DownMbps > 0 || rates.UpMbps > 0 {
		rates.Source = "homeconf"
	}
	if wan.Device == "" {
		return rates
	}
	down, up, queue := gwuci.Queue(r.lenient("sqm"), wan.Device, wan.Network)
	if queue && rates.Source == "" && (down > 0 || up > 0) {
		rates.DownMbps, rates.UpMbps, rates.Source = mbps(down), mbps(up), "sqm"
	}
	rates.Shaper = queue && (down > 0 || up > 0)
	if l := findLink(links, wan.Device); l != nil && !rates.Shaper {
		shaping, err := shapes(l.Attrs().Index)
		if err != nil {
			r.log.Warn("queues of the WAN can't be listed", "device", wan.Device, "err", err)
		}
		rates.Shaper = shaping
	}
	return rates
}

// mbps rounds down; what is less than one is still something.
func mbps(kbit uint64) uint32 {
	if kbit > 0 && kbit < 1000 {
		return 1
	}
	return uint32(min(kbit/1000, 1<<31))
}

// DeviceOf is the Linux device that a network file names for a network.
func DeviceOf(f *uci.File, network string) string {
	for _, n := range gwuci.Networks(f) {
		if n.Name == network {
			return n.Device
		}
	}
	return ""
}
