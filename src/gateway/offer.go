package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	gwuci "homeconf/src/gateway/uci"
	"homeconf/src/model"
)

// Asking for offers. The pauses double from the first to the last.
const (
	verifyTime  = 5 * time.Second
	firstResend = 5 * time.Millisecond
	lastResend  = 320 * time.Millisecond
	wrongOffers = 3 // as many different answers are the server's last word
	maxMACs     = 4 // of one reservation
)

// question is one MAC address whose reservation is asked for.
type question struct {
	res   model.Reservation
	mac   model.MAC
	packs []byte
	offer netip.Addr
	wrong int
}

// VerifyReservations asks the DHCP server what it would give to each device: a
// DISCOVER with the device's hardware address, broadcast from here over UDP. It
// makes no lease. A MAC address that isn't reserved in what the server loaded is
// never asked for; see pending.
func (r *Router) VerifyReservations(ctx context.Context, want model.GatewayState, ids ...model.DeviceID) ([]model.Check, error) {
	ctx, cancel := context.WithTimeout(ctx, verifyTime)
	defer cancel()
	dhcp, err := r.load("dhcp")
	if err != nil {
		return nil, fmt.Errorf("read reservations back: %w", err)
	}
	hosts := gwuci.Hosts(dhcp)
	var checks []model.Check
	var ask []*question
	for _, res := range want.Reservations {
		if !wanted(res.Device, ids) {
			continue
		}
		if why := unasked(res, hosts); why != "" {
			checks = append(checks, model.Check{Device: res.Device, What: WhatReservation, Seen: why})
			continue
		}
		for _, m := range res.MACs[:min(len(res.MACs), maxMACs)] {
			ask = append(ask, &question{res: res, mac: m})
		}
	}
	if len(ask) == 0 {
		return checks, nil
	}
	if err := r.pending.settled(ctx); err != nil {
		for _, q := range ask {
			checks = append(checks, model.Check{Device: q.res.Device, What: WhatReservation, Seen: err.Error()})
		}
		return checks, nil
	}
	if err := r.askOffers(ctx, ask, want); err != nil {
		return checks, fmt.Errorf("read reservations back: %w", err)
	}
	return append(checks, judge(ask, want)...), nil
}

// unasked says why a reservation can't be asked for: it isn't in the server's
// configuration as it is wanted.
func unasked(res model.Reservation, hosts []model.HostEntry) string {
	for _, h := range hosts {
		if h.Owner != res.Device || h.Address != res.Address {
			continue
		}
		if !h.Enabled {
			return fmt.Sprintf("somebody switched section %s of /etc/config/dhcp off", h.Section)
		}
		for _, m := range res.MACs {
			if !slices.Contains(h.MACs, m) {
				return fmt.Sprintf("section %s of /etc/config/dhcp lacks %s", h.Section, m)
			}
		}
		return ""
	}
	return fmt.Sprintf("no section of ours in /etc/config/dhcp has %s", res.Address)
}

// accepted are the addresses that a device may be offered: while a change is
// unconfirmed it has two reservations, and the server offers one of them.
func accepted(q *question, want model.GatewayState) bool {
	return slices.ContainsFunc(want.Reservations, func(o model.Reservation) bool {
		return o.Device == q.res.Device && o.Address == q.offer
	})
}

// judge makes one check of each reservation. Its questions stand together.
func judge(ask []*question, want model.GatewayState) []model.Check {
	var out []model.Check
	for len(ask) > 0 {
		first := ask[0].res
		c := model.Check{Device: first.Device, What: WhatReservation, OK: true}
		var seen []string
		for len(ask) > 0 && ask[0].res.Device == first.Device && ask[0].res.Address == first.Address {
			q := ask[0]
			ask = ask[1:]
			switch {
			case !q.offer.IsValid():
				c.OK = false
				seen = append(seen, fmt.Sprintf("the DHCP server made no offer to %s", q.mac))
			case accepted(q, want):
				seen = append(seen, fmt.Sprintf("the DHCP server offers %s to %s", q.offer, q.mac))
			default:
				c.OK = false
				seen = append(seen, fmt.Sprintf("the DHCP server offers %s to %s, want %s", q.offer, q.mac, q.res.Address))
			}
		}
		c.Seen = strings.Join(seen, "; ")
		out = append(out, c)
	}
	return out
}

// askOffers sends each question and collects the offers, until all are there
// or ctx ends.
func (r *Router) askOffers(ctx context.Context, ask []*question, want model.GatewayState) error {
	conn, err := r.listenDHCP()
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Now()) })
	defer stop()

	byID := map[dhcpv4.TransactionID]*question{}
	for _, q := range ask {
		p, err := dhcpv4.NewDiscovery(net.HardwareAddr(q.mac[:]), dhcpv4.WithBroadcast(true))
		if err != nil {
			return fmt.Errorf("make a DISCOVER: %w", err)
		}
		q.packs = p.ToBytes()
		byID[p.TransactionID] = q
	}
	open := func(q *question) bool { return !q.offer.IsValid() || !accepted(q, want) && q.wrong < wrongOffers }
	to := &net.UDPAddr{IP: net.IPv4bcast, Port: int(r.dhcpPort)}
	buf := make([]byte, 1500)
	for pause := firstResend; ctx.Err() == nil; pause = min(2*pause, lastResend) {
		left := 0
		var sendErr error
		for _, q := range ask {
			if !open(q) {
				continue
			}
			left++
			if _, err := conn.WriteTo(q.packs, to); err != nil {
				sendErr = err
			}
		}
		if left == 0 {
			return nil
		}
		if sendErr != nil && !errors.Is(sendErr, unix.ENETUNREACH) && !errors.Is(sendErr, unix.ENETDOWN) && !errors.Is(sendErr, unix.ENOBUFS) {
			return fmt.Errorf("send a DISCOVER on %s: %w", r.cfg.LANDevice, sendErr)
		}
		conn.SetReadDeadline(time.Now().Add(pause))
		if ctx.Err() != nil {
			return nil
		}
		for left > 0 {
			n, _, err := conn.ReadFrom(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return fmt.Errorf("wait for an OFFER on %s: %w", r.cfg.LANDevice, err)
			}
			q, offer := r.readOffer(buf[:n], byID)
			if q == nil || !open(q) {
				continue
			}
			q.offer = offer
			if !accepted(q, want) {
				q.wrong++
			}
			if !open(q) {
				left--
			}
		}
	}
	return nil
}

// readOffer finds the question that an OFFER answers. Anybody on the LAN can
// send one: the transaction's number is known to who saw our broadcast, so the
// server's address must be this gateway's.
func (r *Router) readOffer(b []byte, byID map[dhcpv4.TransactionID]*question) (*question, netip.Addr) {
	p, err := dhcpv4.FromBytes(b)
	if err != nil || p.OpCode != dhcpv4.OpcodeBootReply || p.MessageType() != dhcpv4.MessageTypeOffer {
		return nil, noAddr
	}
	q := byID[p.TransactionID]
	if q == nil || !slices.Equal(p.ClientHWAddr, q.mac[:]) {
		return nil, noAddr
	}
	iface, err := net.InterfaceByName(r.cfg.LANDevice)
	if err != nil {
		return nil, noAddr
	}
	addrs, err := iface.Addrs()
	if err != nil || !slices.ContainsFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(p.ServerIdentifier())
	}) {
		return nil, noAddr
	}
	a, ok := netip.AddrFromSlice(p.YourIPAddr.To4())
	if !ok {
		return nil, noAddr
	}
	return q, a
}

var noAddr netip.Addr

// listenDHCP opens the client's port on the LAN device alone; a DHCP client of
// the gateway's own, on the WAN, is not disturbed.
func (r *Router) listenDHCP() (net.PacketConn, error) {
	// Not net.ListenConfig, which brings the resolver.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("listen for OFFERs: %w", os.NewSyscallError("socket", err))
	}
	socket := os.NewFile(uintptr(fd), "dhcp")
	defer socket.Close() // conn has one of its own
	var conn net.PacketConn
	for _, step := range []func() error{
		func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) },
		func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1) },
		func() error { return unix.BindToDevice(fd, r.cfg.LANDevice) },
		func() error { return unix.Bind(fd, &unix.SockaddrInet4{Port: 68}) },
		func() (err error) { conn, err = net.FilePacketConn(socket); return err },
	} {
		if err = step(); err != nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen for OFFERs on %s: %w", r.cfg.LANDevice, err)
	}
	return conn, nil
}
