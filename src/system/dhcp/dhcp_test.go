package dhcp

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// ack is what a server of good sense says, but for what with changes.
func ack(with ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	p, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(dhcpv4.MessageTypeAck),
		dhcpv4.WithYourIP(net.IPv4(192, 168, 1, 150)),
		dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithRouter(net.IPv4(192, 168, 1, 1)),
		dhcpv4.WithDNS(net.IPv4(192, 168, 1, 1), net.IPv4(9, 9, 9, 9)),
		dhcpv4.WithLeaseTime(3600),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 168, 1, 1))),
	}, with...)...)
	if err != nil {
		panic(err)
	}
	return p
}

func lease(p *dhcpv4.DHCPv4) *nclient4.Lease { return &nclient4.Lease{Offer: ack(), ACK: p} }

func TestRead(t *testing.T) {
	many := make([]net.IP, 50)
	for i := range many {
		many[i] = net.IPv4(10, 0, 0, byte(i+1))
	}
	for _, c := range []struct {
		name    string
		with    []dhcpv4.Modifier
		address string
		gateway string
		dns     int
		lent    time.Duration
		fails   string
	}{
		{name: "good", address: "192.168.1.150/24", gateway: "192.168.1.1", dns: 2, lent: time.Hour},
		{name: "for ever", with: []dhcpv4.Modifier{dhcpv4.WithLeaseTime(0xffffffff)}, address: "192.168.1.150/24", gateway: "192.168.1.1", dns: 2},
		{name: "absurdly short", with: []dhcpv4.Modifier{dhcpv4.WithLeaseTime(1)}, address: "192.168.1.150/24", gateway: "192.168.1.1", dns: 2, lent: time.Minute},
		{name: "router elsewhere, then a good one", with: []dhcpv4.Modifier{dhcpv4.WithRouter(net.IPv4(10, 0, 0, 1), net.IPv4(192, 168, 1, 2))}, address: "192.168.1.150/24", gateway: "192.168.1.2", dns: 2, lent: time.Hour},
		{name: "router is the device", with: []dhcpv4.Modifier{dhcpv4.WithRouter(net.IPv4(192, 168, 1, 150))}, address: "192.168.1.150/24", dns: 2, lent: time.Hour},
		{name: "no router", with: []dhcpv4.Modifier{dhcpv4.WithoutOption(dhcpv4.OptionRouter)}, address: "192.168.1.150/24", dns: 2, lent: time.Hour},
		{name: "many name servers", with: []dhcpv4.Modifier{dhcpv4.WithDNS(many...)}, address: "192.168.1.150/24", gateway: "192.168.1.1", dns: maxDNS, lent: time.Hour},
		{name: "bad name servers", with: []dhcpv4.Modifier{dhcpv4.WithDNS(net.IPv4zero, net.IPv4(239, 1, 1, 1))}, address: "192.168.1.150/24", gateway: "192.168.1.1", lent: time.Hour},
		{name: "no mask", with: []dhcpv4.Modifier{dhcpv4.WithoutOption(dhcpv4.OptionSubnetMask)}, fails: "subnet mask"},
		{name: "mask of zeros", with: []dhcpv4.Modifier{dhcpv4.WithNetmask(net.CIDRMask(0, 32))}, fails: "subnet mask"},
		{name: "mask with a hole", with: []dhcpv4.Modifier{dhcpv4.WithNetmask(net.IPMask{255, 0, 255, 0})}, fails: "subnet mask"},
		{name: "no address", with: []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4zero)}, fails: "no address"},
		{name: "loopback", with: []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4(127, 0, 0, 1))}, fails: "no address"},
		{name: "a group", with: []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4(239, 1, 1, 1))}, fails: "no address"},
		{name: "broadcast", with: []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4bcast)}, fails: "no address"},
		{name: "the network's last", with: []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4(192, 168, 1, 255))}, fails: "no address"},
		{name: "the network's first", with: []dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4(192, 168, 1, 0))}, fails: "no address"},
	} {
		l, err := read("eth0", lease(ack(c.with...)))
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s: %v, %v, want %q", c.name, l.Address, err, c.fails)
			}
			continue
		}
		gw := ""
		if l.Gateway.IsValid() {
			gw = l.Gateway.String()
		}
		if err != nil || l.Address.String() != c.address || gw != c.gateway || len(l.DNS) != c.dns || l.For != c.lent || l.Server != netip.MustParseAddr("192.168.1.1") {
			t.Errorf("%s: %+v, %v", c.name, l, err)
			continue
		}
		// The server's own words come through storage.
		back, err := client4(l)
		if err != nil || !back.ACK.YourIPAddr.Equal(l.Address.Addr().AsSlice()) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// FuzzRead: whatever a server says is refused or gives settings that an
// interface can have.
func FuzzRead(f *testing.F) {
	f.Add(ack().ToBytes())
	f.Add(ack(dhcpv4.WithYourIP(net.IPv4bcast)).ToBytes())
	f.Add(ack(dhcpv4.WithNetmask(net.IPMask{255, 0, 255, 0}), dhcpv4.WithLeaseTime(0)).ToBytes())
	f.Add(ack(dhcpv4.WithGeneric(dhcpv4.OptionRouter, []byte{1, 2, 3})).ToBytes())
	f.Add(ack(dhcpv4.WithGeneric(dhcpv4.OptionSubnetMask, nil), dhcpv4.WithGeneric(dhcpv4.OptionIPAddressLeaseTime, []byte{1})).ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		l, err := read("eth0", lease(p))
		if err != nil {
			return
		}
		a := l.Address.Addr()
		if !l.Address.IsValid() || !a.Is4() || a.IsMulticast() || a.IsLoopback() || a.IsUnspecified() || l.Address.Bits() == 0 || l.For < 0 || len(l.DNS) > maxDNS ||
			l.Gateway.IsValid() && (!l.Address.Contains(l.Gateway) || l.Gateway == a) {
			t.Fatalf("%+v", l)
		}
		if _, err := client4(l); err != nil {
			t.Fatalf("%+v: %v", l, err)
		}
	})
}
