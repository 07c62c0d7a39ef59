package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"golang.org/x/sys/unix"
)

// Lease is what a DHCP server gave.
type Lease struct {
	Address netip.Prefix
	Gateway netip.Addr
	DNS     []netip.Addr
	Time    time.Duration
	Took    time.Duration // from DISCOVER to ACK

	lease *nclient4.Lease
}

// Offer asks dnsmasq, from the gateway itself, what it would give to a MAC
// address: a DISCOVER makes no lease. It is asked over UDP, as no frame that the
// bridge sends comes back to it. For a MAC address without a reservation
// dnsmasq is busy with pings for 3 s before it answers.
func (w *World) Offer(ctx context.Context, mac net.HardwareAddr) (netip.Addr, error) {
	fail := func(err error) (netip.Addr, error) {
		return netip.Addr{}, fmt.Errorf("ask dnsmasq for an offer to %v: %w", mac, err)
	}
	c, err := w.GW.udp(Bridge, fmt.Sprintf(":%d", nclient4.ClientPort), func(fd, _ int) error {
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
			unix.BindToDevice(fd, Bridge),
		)
	})
	if err != nil {
		return fail(err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	ask, err := dhcpv4.NewDiscovery(mac, dhcpv4.WithBroadcast(true))
	if err != nil {
		return fail(err)
	}
	if _, err := c.WriteTo(ask.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: nclient4.ServerPort}); err != nil {
		return fail(err)
	}
	b := make([]byte, 1500)
	for {
		n, err := c.Read(b)
		if ctx.Err() != nil {
			return fail(ctx.Err())
		}
		if err != nil {
			return fail(err)
		}
		// Others' traffic to port 68 may come, too.
		offer, err := dhcpv4.FromBytes(b[:n])
		if err != nil || offer.TransactionID != ask.TransactionID || offer.MessageType() != dhcpv4.MessageTypeOffer {
			continue
		}
		addr, _ := netip.AddrFromSlice(offer.YourIPAddr.To4())
		return addr, nil
	}
}

// Lease is what a box without an agent does: it gets a lease for eth0 and uses
// it, address, route and all. A name may be empty.
func (b *Box) Lease(ctx context.Context, hostName, vendorClass string) (Lease, error) {
	var l Lease
	err := b.dhcp(func(c *nclient4.Client) error {
		var with []dhcpv4.Modifier
		if hostName != "" {
			with = append(with, dhcpv4.WithOption(dhcpv4.OptHostName(hostName)))
		}
		if vendorClass != "" {
			with = append(with, dhcpv4.WithOption(dhcpv4.OptClassIdentifier(vendorClass)))
		}
		begin := time.Now()
		lease, err := c.Request(ctx, with...)
		l.lease, l.Took = lease, time.Since(begin)
		return err
	})
	if err == nil {
		err = b.use(&l)
	}
	if err != nil {
		return Lease{}, fmt.Errorf("%s: get a lease: %w", b.Name, err)
	}
	return l, nil
}

// use puts a lease in force, in the place of what was there.
func (b *Box) use(l *Lease) error {
	ack := l.lease.ACK
	addr, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	ones, _ := ack.SubnetMask().Size()
	if !ok || ones == 0 {
		return fmt.Errorf("ACK without address or mask: %s", ack.Summary())
	}
	l.Address = netip.PrefixFrom(addr, ones)
	l.Time = ack.IPAddressLeaseTime(0)
	for _, d := range ack.DNS() {
		if a, ok := netip.AddrFromSlice(d.To4()); ok {
			l.DNS = append(l.DNS, a)
		}
	}
	lines := []string{"-4 addr flush dev eth0", fmt.Sprintf("addr add %v brd + dev eth0", l.Address)}
	if r := ack.Router(); len(r) > 0 {
		l.Gateway, _ = netip.AddrFromSlice(r[0].To4())
		lines = append(lines, "route replace default via "+l.Gateway.String())
	}
	return steps(b.Host, lines...)
}

// Release gives a lease back and takes the address off.
func (b *Box) Release(l Lease) error {
	// The server hears it only by unicast from the address itself.
	err := b.Do(func() error {
		c, err := nclient4.New("eth0", nclient4.WithHWAddr(b.MAC),
			nclient4.WithUnicast(&net.UDPAddr{IP: l.Address.Addr().AsSlice(), Port: nclient4.ClientPort}),
			nclient4.WithServerAddr(&net.UDPAddr{IP: l.lease.ACK.ServerIdentifier(), Port: nclient4.ServerPort}))
		if err != nil {
			return err
		}
		defer c.Close()
		return c.Release(l.lease)
	})
	if err == nil {
		err = b.IP("-4", "addr", "flush", "dev", "eth0")
	}
	if err != nil {
		return fmt.Errorf("%s: release %v: %w", b.Name, l.Address, err)
	}
	return nil
}

// dhcp makes a client in the box. The first frame after link up is lost, so
// that it asks again soon; the server's ping check takes 3 s, so that it goes on
// for 10.
func (b *Box) dhcp(f func(*nclient4.Client) error) error {
	return b.Do(func() error {
		c, err := nclient4.New("eth0", nclient4.WithHWAddr(b.MAC), nclient4.WithTimeout(time.Second), nclient4.WithRetry(10))
		if err != nil {
			return err
		}
		defer c.Close()
		return f(c)
	})
}
