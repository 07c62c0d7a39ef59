package netlink

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	nl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"homeconf/src/model"
)

// Prove implements system.Device: the address is there, and the gateway
// answers an ICMP echo, or at least resolves anew by ARP (a gateway may drop
// echoes).
func (d *Device) Prove(ctx context.Context, s model.Settings) error {
	link, err := d.link()
	if err != nil {
		return err
	}
	d.mu.Lock()
	have, err := d.addresses(link)
	if err == nil && s.AddressingType != model.AddressingStatic {
		s, err = d.current(link)
	}
	d.mu.Unlock()
	if err != nil {
		return err
	}
	if s.AddressingType == model.AddressingUnknown {
		return nil
	}
	if !slices.ContainsFunc(have, func(a address) bool { return a.prefix == s.Address }) {
		return fmt.Errorf("interface %s: address %s is not there", d.c.Interface, s.Address)
	}
	if !s.Gateway.IsValid() {
		return nil
	}
	if gw, err := d.gateway(link); err != nil {
		return err
	} else if gw != s.Gateway {
		return fmt.Errorf("interface %s: default gateway is %v, want %s", d.c.Interface, gw, s.Gateway)
	}
	return d.reach(ctx, link, s.Address.Addr(), s.Gateway)
}

// reachServer waits a moment until the DHCP server's hardware address is
// known: a message to it has left the queue then.
func (d *Device) reachServer(ctx context.Context, server netip.Addr) error {
	link, err := d.link()
	if err != nil {
		return err
	}
	for wait := time.Millisecond; wait < 200*time.Millisecond; wait *= 2 {
		if n, err := d.neighbour(link, server); err != nil || n&(nudKnown|unix.NUD_PERMANENT) != 0 {
			return nil // a kernel that won't say: nothing to wait for
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
	return fmt.Errorf("DHCP server %s does not answer ARP", server)
}

const nudKnown = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE

// neighbour is the state of a neighbour entry, 0 where there is none.
func (d *Device) neighbour(link nl.Link, a netip.Addr) (int, error) {
	list, err := d.s.Neighbors(link.Attrs().Index, unix.AF_INET)
	if err != nil {
		return 0, fmt.Errorf("listing neighbours: %w", err)
	}
	for _, n := range list {
		if b, ok := netip.AddrFromSlice(n.IP); ok && b.Unmap() == a {
			return n.State, nil
		}
	}
	return 0, nil
}

// listenICMP is net.ListenPacket("ip4:icmp") on one interface, without the
// resolver that it brings.
func listenICMP(name string, from netip.Addr) (net.PacketConn, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMP)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	socket := os.NewFile(uintptr(fd), "icmp")
	defer socket.Close() // the connection has one of its own
	if err := unix.BindToDevice(fd, name); err != nil {
		return nil, os.NewSyscallError("bind to "+name, err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: from.As4()}); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	return net.FilePacketConn(socket)
}

// echoFirst is the wait from which on a gateway that answers ARP, and no echo,
// is proven too: 70 ms after the first question.
const echoFirst = 40 * time.Millisecond

// reach asks the gateway until it answers. Resends come after 10, 20, 40 … ms:
// the first frame after a change is the one that gets lost.
func (d *Device) reach(ctx context.Context, link nl.Link, from, gateway netip.Addr) error {
	// What was resolved before the change proves nothing.
	if state, err := d.neighbour(link, gateway); err == nil && state&nudKnown != 0 {
		_ = d.s.DeleteNeighbor(link.Attrs().Index, gateway)
	}
	conn, err := listenICMP(d.c.Interface, from)
	if err != nil {
		return fmt.Errorf("opening an ICMP socket at %s: %w", from, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()

	var id [2]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	buf := make([]byte, 1500)
	for seq, wait := uint16(0), 10*time.Millisecond; ; seq, wait = seq+1, min(2*wait, 500*time.Millisecond) {
		if _, err := conn.WriteTo(echoRequest(id, seq), &net.IPAddr{IP: gateway.AsSlice()}); err != nil && ctx.Err() == nil && wait > 160*time.Millisecond {
			// Not at once: the link may be coming up.
			return fmt.Errorf("asking gateway %s: %w", gateway, err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(wait))
		for {
			if ctx.Err() != nil {
				return fmt.Errorf("gateway %s does not answer: %w", gateway, ctx.Err())
			}
			n, src, err := conn.ReadFrom(buf)
			if err != nil {
				break // time to ask again
			}
			if ip, ok := src.(*net.IPAddr); ok && ip.IP.Equal(gateway.AsSlice()) && isEchoReply(buf[:n], id) {
				return nil
			}
		}
		if wait >= echoFirst {
			if state, err := d.neighbour(link, gateway); err == nil && state&unix.NUD_REACHABLE != 0 {
				return nil
			}
		}
	}
}

// echoRequest is an ICMP Echo message (RFC 792).
func echoRequest(id [2]byte, seq uint16) []byte {
	b := make([]byte, 8+24)
	b[0] = 8
	b[4], b[5] = id[0], id[1]
	binary.BigEndian.PutUint16(b[6:], seq)
	copy(b[8:], "homeconf")
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[2:], ^uint16(sum))
	return b
}

func isEchoReply(b []byte, id [2]byte) bool {
	return len(b) >= 8 && b[0] == 0 && b[1] == 0 && b[4] == id[0] && b[5] == id[1]
}
