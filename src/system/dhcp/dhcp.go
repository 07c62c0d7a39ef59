// Package dhcp takes an IPv4 address by DHCP and gives it back (RFC 2131), on
// an interface that need not have one.
package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	"homeconf/src/system"
)

const (
	// timeout and tries: 1, 2 and 4 s. The client's own 5 s would make one
	// lost frame cost 8.
	timeout = time.Second
	tries   = 3
	// ackWait bounds the wait for the answer to a REQUEST once it was sent,
	// ackGrace the rest of it once nobody wants the address any more: an
	// agent that is told to end has a second.
	ackWait  = 3 * time.Second
	ackGrace = 500 * time.Millisecond
	// maxDNS bounds what is taken of a server's list.
	maxDNS = 8
)

func client(ifname string) (*nclient4.Client, error) {
	c, err := nclient4.New(ifname, nclient4.WithTimeout(timeout), nclient4.WithRetry(tries))
	if err != nil {
		return nil, fmt.Errorf("DHCP on %s: %w", ifname, err)
	}
	return c, nil
}

// Lease asks for an address: DISCOVER until the context ends, then, once there
// is an offer, REQUEST, whose answer is waited for in any case.
func Lease(ctx context.Context, ifname string) (system.Lease, error) {
	c, err := client(ifname)
	if err != nil {
		return system.Lease{}, err
	}
	defer c.Close()
	wants := dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer)
	offer, err := c.DiscoverOffer(ctx, wants)
	if err != nil {
		return system.Lease{}, fmt.Errorf("DHCP on %s: %w", ifname, err)
	}
	ack, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackWait)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-ack.Done():
		case <-time.After(ackGrace):
			cancel()
		}
	})
	defer stop()
	l, err := c.RequestFromOffer(ack, offer, wants)
	if err != nil {
		return system.Lease{}, fmt.Errorf("DHCP on %s: %w", ifname, err)
	}
	return read(ifname, l)
}

// Renew asks the network's servers for more time; by broadcast, as in the
// state REBINDING, which the server that lent the address answers as well.
func Renew(ctx context.Context, ifname string, l system.Lease) (system.Lease, error) {
	old, err := client4(l)
	if err != nil {
		return system.Lease{}, fmt.Errorf("renewing %s: %w", l.Address, err)
	}
	c, err := client(ifname)
	if err != nil {
		return system.Lease{}, err
	}
	defer c.Close()
	ask, err := dhcpv4.NewRenewFromAck(old.ACK, dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(nclient4.MaxMessageSize)))
	if err != nil {
		return system.Lease{}, fmt.Errorf("renewing %s: %w", l.Address, err)
	}
	// Any server's answer counts, not only the one's that lent it: the device
	// may be in another network now.
	answer, err := c.SendAndRead(ctx, c.RemoteAddr(), ask, nclient4.IsMessageType(dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak))
	if err != nil {
		return system.Lease{}, fmt.Errorf("renewing %s on %s: %w", l.Address, ifname, err)
	}
	if answer.MessageType() == dhcpv4.MessageTypeNak {
		return system.Lease{}, fmt.Errorf("renewing %s on %s: %w", l.Address, ifname, system.ErrLeaseEnded)
	}
	return read(ifname, &nclient4.Lease{Offer: old.Offer, ACK: answer})
}

// Release tells the server, by unicast from the given address of the
// interface, that the lease is not needed (RFC 2131, section 4.4.6). There is
// no answer to it.
func Release(_ context.Context, ifname string, from netip.Addr, l system.Lease) error {
	old, err := client4(l)
	if err != nil {
		return fmt.Errorf("releasing %s: %w", l.Address, err)
	}
	c, err := nclient4.New(ifname, nclient4.WithUnicast(&net.UDPAddr{IP: from.AsSlice(), Port: nclient4.ClientPort}))
	if err != nil {
		return fmt.Errorf("releasing %s on %s: %w", l.Address, ifname, err)
	}
	defer c.Close()
	if err := c.Release(old); err != nil {
		return fmt.Errorf("releasing %s on %s: %w", l.Address, ifname, err)
	}
	return nil
}

// read takes from a lease what we use, and refuses what can't be used: what a
// DHCP server says is as trustworthy as the cable.
func read(ifname string, l *nclient4.Lease) (system.Lease, error) {
	ack := l.ACK
	addr, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	if !ok || addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback() {
		return system.Lease{}, fmt.Errorf("DHCP on %s: server lent %v, no address for a host", ifname, ack.YourIPAddr)
	}
	ones, bits := ack.SubnetMask().Size()
	if bits != 32 || ones < 1 || ones > 32 {
		return system.Lease{}, fmt.Errorf("DHCP on %s: server gave no usable subnet mask", ifname)
	}
	prefix := netip.PrefixFrom(addr, ones)
	if ones < 31 && (addr == prefix.Masked().Addr() || !prefix.Contains(addr.Next())) {
		return system.Lease{}, fmt.Errorf("DHCP on %s: server lent %v, no address for a host", ifname, prefix)
	}
	out := system.Lease{Address: prefix, Taken: time.Now(),
		For: ack.IPAddressLeaseTime(0), Offer: l.Offer.ToBytes(), Ack: ack.ToBytes()}
	if out.For >= 0xffffffff*time.Second { // RFC 2131, section 3.3: infinity
		out.For = 0
	} else if out.For < time.Minute {
		out.For = time.Minute
	}
	if s, ok := netip.AddrFromSlice(ack.ServerIdentifier().To4()); ok {
		out.Server = s
	}
	for _, r := range ack.Router() {
		// The first that can be reached.
		if gw, ok := netip.AddrFromSlice(r.To4()); ok && out.Address.Contains(gw) && gw != addr && !out.Gateway.IsValid() {
			out.Gateway = gw
		}
	}
	for _, r := range ack.DNS() {
		if a, ok := netip.AddrFromSlice(r.To4()); ok && !a.IsUnspecified() && !a.IsMulticast() && len(out.DNS) < maxDNS {
			out.DNS = append(out.DNS, a)
		}
	}
	return out, nil
}

func client4(l system.Lease) (*nclient4.Lease, error) {
	ack, err := dhcpv4.FromBytes(l.Ack)
	if err != nil {
		return nil, errors.Join(errors.New("reading the server's answer"), err)
	}
	offer, err := dhcpv4.FromBytes(l.Offer)
	if err != nil {
		return nil, errors.Join(errors.New("reading the server's offer"), err)
	}
	return &nclient4.Lease{Offer: offer, ACK: ack, CreationTime: l.Taken}, nil
}
