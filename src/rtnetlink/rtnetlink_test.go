package rtnetlink

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// inNamespace moves the test to a network namespace of its own, with what a
// gateway has: a bridge, its port, an address, a neighbour, a station.
func inNamespace(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 && os.Getenv("CI") != "true" {
		t.Skip("network namespaces need root")
	}
	runtime.LockOSThread() // and never given back: the thread ends with the test
	ns, err := netns.New()
	if err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
	t.Cleanup(func() { ns.Close() })
	attrs := func(name string) netlink.LinkAttrs {
		a := netlink.NewLinkAttrs()
		a.Name = name
		return a
	}
	bridge := &netlink.Bridge{LinkAttrs: attrs("br-lan")}
	must(t, netlink.LinkAdd(bridge))
	veth := &netlink.Veth{LinkAttrs: attrs("lan1"), PeerName: "box"}
	veth.MasterIndex, veth.MTU = bridge.Index, 1400
	must(t, netlink.LinkAdd(veth))
	for _, name := range []string{"br-lan", "lan1", "box", "lo"} {
		l, err := netlink.LinkByName(name)
		must(t, err)
		must(t, netlink.LinkSetUp(l))
	}
	for _, s := range []string{"192.168.1.1/24", "10.9.8.7/31"} {
		a, err := netlink.ParseAddr(s)
		must(t, err)
		must(t, netlink.AddrAdd(bridge, a))
	}
	peer, err := netlink.ParseAddr("10.1.1.1/32")
	must(t, err)
	peer.Peer = &net.IPNet{IP: net.IPv4(10, 1, 1, 2).To4(), Mask: net.CIDRMask(32, 32)}
	must(t, netlink.AddrAdd(bridge, peer))
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	for _, ip := range []string{"192.168.1.9", "fd00::9"} {
		must(t, netlink.NeighAdd(&netlink.Neigh{LinkIndex: bridge.Index, State: unix.NUD_PERMANENT, IP: net.ParseIP(ip), HardwareAddr: mac}))
	}
	late := time.Now().Add(30 * time.Second)
	for _, name := range []string{"br-lan", "lan1", "box"} {
		for l, err := netlink.LinkByName(name); err != nil || l.Attrs().OperState != netlink.OperUp; l, err = netlink.LinkByName(name) {
			if time.Now().After(late) {
				t.Fatalf("%s is not up: %v", name, err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	// Refused until the port forwards.
	for ; ; time.Sleep(10 * time.Millisecond) {
		err := netlink.NeighAppend(&netlink.Neigh{Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER, LinkIndex: veth.Index, State: unix.NUD_REACHABLE, HardwareAddr: mac})
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EPERM) || time.Now().After(late) {
			t.Fatal(err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What is read is what vishvananda/netlink reads.
func TestReadsTheSame(t *testing.T) {
	inNamespace(t)
	s, err := Open()
	must(t, err)
	defer s.Close()
	theirs, err := netlink.LinkList()
	must(t, err)
	for _, s := range []*Socket{s, nil} {
		ours, err := s.Links()
		must(t, err)
		if len(ours) != len(theirs) || len(ours) < 4 {
			t.Fatalf("%d links, theirs %d", len(ours), len(theirs))
		}
		for i := range ours {
			a, b := ours[i].Attrs(), theirs[i].Attrs()
			want := netlink.LinkAttrs{Index: b.Index, Name: b.Name, MTU: b.MTU, HardwareAddr: b.HardwareAddr, Flags: b.Flags,
				RawFlags: b.RawFlags, MasterIndex: b.MasterIndex, OperState: b.OperState, EncapType: b.EncapType}
			if !reflect.DeepEqual(*a, want) || ours[i].Type() != theirs[i].Type() {
				t.Errorf("%s: read %+v %s, theirs %+v %s", b.Name, *a, ours[i].Type(), want, theirs[i].Type())
			}
		}
	}
	bridge, err := s.Link("br-lan")
	if err != nil || bridge.Type() != "bridge" {
		t.Fatalf("%+v, %v", bridge, err)
	}
	if _, err := s.Link("none"); !errors.Is(err, ErrNoLink) {
		t.Errorf("no link: %v", err)
	}
	index := bridge.Attrs().Index
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6, unix.AF_BRIDGE} {
		ours, err := s.Neighbors(index, family)
		must(t, err)
		theirs, err := netlink.NeighList(index, int(family))
		must(t, err)
		if family == unix.AF_BRIDGE {
			ours, err = s.Neighbors(0, family)
			must(t, err)
			theirs, err = netlink.NeighListExecute(netlink.Ndmsg{Family: family})
			must(t, err)
		}
		for i := range theirs { // what nobody asks for, and ages
			theirs[i].Vlan, theirs[i].FlagsExt = 0, 0
			theirs[i].Used, theirs[i].Updated, theirs[i].Confirmed = 0, 0, 0
		}
		for i := range ours {
			ours[i].Used, ours[i].Updated, ours[i].Confirmed = 0, 0, 0
		}
		if len(ours) == 0 || !reflect.DeepEqual(ours, theirs) {
			t.Errorf("family %d: read %+v, theirs %+v", family, ours, theirs)
		}
	}
}

func TestAddressesAndRoutes(t *testing.T) {
	inNamespace(t)
	s, err := Open()
	must(t, err)
	defer s.Close()
	bridge, err := s.Link("br-lan")
	must(t, err)
	index := bridge.Attrs().Index

	fixed, leased := netip.MustParsePrefix("192.168.7.20/22"), netip.MustParsePrefix("192.168.1.20/24")
	must(t, s.ReplaceAddress(index, fixed, 0))
	must(t, s.ReplaceAddress(index, leased, 60))
	must(t, s.ReplaceAddress(index, leased, 600))
	must(t, s.DeleteAddress(index, netip.MustParsePrefix("10.9.8.7/31")))
	if err := s.DeleteAddress(index, netip.MustParsePrefix("10.9.8.7/31")); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("deleted twice: %v", err)
	}
	ours, err := s.Addresses(index)
	must(t, err)
	theirs, err := netlink.AddrList(bridge, netlink.FAMILY_V4)
	must(t, err)
	if len(ours) != 4 || len(theirs) != 4 {
		t.Fatalf("read %+v, theirs %+v", ours, theirs)
	}
	for i, a := range ours {
		b := theirs[i]
		if a.Prefix.String() != b.IPNet.String() || int(a.Flags) != b.Flags {
			t.Errorf("read %+v, theirs %+v", a, b)
		}
		switch a.Prefix {
		case fixed:
			if b.Flags&unix.IFA_F_PERMANENT == 0 || !b.Broadcast.Equal(net.IPv4(192, 168, 7, 255)) {
				t.Errorf("fixed: %+v", b)
			}
		case leased:
			if b.Flags&unix.IFA_F_PERMANENT != 0 || b.ValidLft < 590 || b.ValidLft > 600 {
				t.Errorf("leased: %+v", b)
			}
		}
	}

	route := netlink.Route{LinkIndex: index, Gw: net.IPv4(192, 168, 1, 254).To4(), Src: net.IPv4(192, 168, 1, 20).To4(),
		Protocol: 72, Type: unix.RTN_UNICAST}
	must(t, s.ReplaceDefault(&route))
	route.Gw = net.IPv4(192, 168, 1, 253).To4()
	must(t, s.ReplaceDefault(&route))
	other := netlink.Route{LinkIndex: index, Gw: net.IPv4(192, 168, 1, 252).To4(), Priority: 9, Protocol: 16, Type: unix.RTN_UNICAST}
	must(t, s.ReplaceDefault(&other))
	have, err := s.DefaultRoutes()
	must(t, err)
	known, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{}, netlink.RT_FILTER_DST)
	must(t, err)
	if len(have) != 2 || len(known) != 2 {
		t.Fatalf("read %+v, theirs %+v", have, known)
	}
	for i := range have {
		known[i].Dst = nil
		if !have[i].Equal(known[i]) || have[i].Priority != []int{0, 9}[i] {
			t.Errorf("read %+v, theirs %+v", have[i], known[i])
		}
		must(t, s.DeleteDefault(&have[i]))
		if err := s.DeleteDefault(&have[i]); !errors.Is(err, unix.ESRCH) {
			t.Errorf("deleted twice: %v", err)
		}
	}
	must(t, s.DeleteNeighbor(index, netip.MustParseAddr("192.168.1.9")))
	list, err := s.Neighbors(index, unix.AF_INET)
	must(t, err)
	for _, n := range list {
		if n.IP.Equal(net.IPv4(192, 168, 1, 9)) {
			t.Errorf("deleted, and there: %+v", n)
		}
	}
}

func TestSubscribe(t *testing.T) {
	inNamespace(t)
	done := make(chan struct{})
	links, neighbors := make(chan netlink.LinkUpdate, 64), make(chan netlink.NeighUpdate, 64)
	must(t, Subscribe(links, done, func(error) {}, 0))
	must(t, SubscribeNeighbors(neighbors, done, func(error) {}, 1<<16))
	l, err := netlink.LinkByName("lan1")
	must(t, err)
	must(t, netlink.LinkDel(l))
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 8}
	bridge, err := netlink.LinkByName("br-lan")
	must(t, err)
	must(t, netlink.NeighAdd(&netlink.Neigh{LinkIndex: bridge.Attrs().Index, State: unix.NUD_PERMANENT, IP: net.IPv4(192, 168, 1, 8), HardwareAddr: mac}))
	late := time.After(30 * time.Second)
	for gone, came := false, false; !gone || !came; {
		select {
		case u := <-links:
			gone = gone || u.Header.Type == unix.RTM_DELLINK && u.Attrs().Name == "lan1" && int(u.IfInfomsg.Index) == l.Attrs().Index
		case n := <-neighbors:
			came = came || n.Type == unix.RTM_NEWNEIGH && n.HardwareAddr.String() == mac.String()
		case <-late:
			t.Fatalf("link gone %v, neighbour came %v", gone, came)
		}
	}
	close(done)
	for range links {
	}
	for range neighbors {
	}
}

// Whatever the bytes, there is an answer.
func FuzzParse(f *testing.F) {
	f.Add([]byte{})
	for n := range 24 {
		f.Add(make([]byte, n))
	}
	attrs := func(head []byte, list ...*nl.RtAttr) []byte {
		for _, a := range list {
			head = append(head, a.Serialize()...)
		}
		return head
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
	f.Add(attrs(nl.NewIfInfomsg(0).Serialize(), nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated("x")), nl.NewRtAttr(unix.IFLA_MTU, []byte{1}), info))
	f.Add(attrs(nl.NewRtMsg().Serialize(), nl.NewRtAttr(unix.RTA_GATEWAY, []byte{1, 2, 3, 4}), nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(3))))
	f.Add(attrs(nl.NewIfAddrmsg(unix.AF_INET).Serialize(), nl.NewRtAttr(unix.IFA_LOCAL, []byte{1, 2, 3}), nl.NewRtAttr(unix.IFA_FLAGS, nil)))
	f.Add(attrs(make([]byte, sizeofNdmsg), nl.NewRtAttr(unix.NDA_DST, []byte{1}), nl.NewRtAttr(unix.NDA_CACHEINFO, make([]byte, 11))))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := ParseLink(b); err == nil && l.Type() == "" && len(b) == unix.SizeofIfInfomsg {
			t.Error("a link without a type")
		}
		if n, err := parseNeighbor(b); err == nil && n.Family != int(b[0]) {
			t.Errorf("%+v", n)
		}
		if len(b) >= unix.SizeofRtMsg {
			if r, err := parseRoute(nl.DeserializeRtMsg(b), b[unix.SizeofRtMsg:]); err == nil && r.Dst != nil {
				t.Errorf("%+v", r)
			}
		}
		if len(b) >= unix.SizeofIfAddrmsg {
			if a, err := parseAddress(nl.DeserializeIfAddrmsg(b), b[unix.SizeofIfAddrmsg:]); err == nil && a.Prefix.IsValid() && !a.Prefix.Addr().IsValid() {
				t.Errorf("%+v", a)
			}
		}
	})
}
