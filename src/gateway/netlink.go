package gateway

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"homeconf/src/model"
	"homeconf/src/rtnetlink"
)

func findLink(links []netlink.Link, name string) netlink.Link {
	for _, l := range links {
		if name != "" && l.Attrs().Name == name {
			return l
		}
	}
	return nil
}

func linkAt(links []netlink.Link, index int) netlink.Link {
	for _, l := range links {
		if l.Attrs().Index == index {
			return l
		}
	}
	return nil
}

// isUp says whether a device carries packets. Some, such as PPP's, never say
// more than "unknown" (RFC 2863, ifOperStatus).
func isUp(l netlink.Link) bool {
	a := l.Attrs()
	return a.OperState == netlink.OperUp || a.OperState == netlink.OperUnknown && a.Flags&net.FlagUp != 0 && a.RawFlags&unix.IFF_RUNNING != 0
}

// speed is the link's in Mbit/s, 0 where the driver doesn't know.
func (r *Router) speed(device string) uint32 {
	if device == "" || strings.ContainsAny(device, "/") || device == "." || device == ".." {
		return 0
	}
	b, err := os.ReadFile(filepath.Join(r.cfg.Sys, "class", "net", device, "speed"))
	if err != nil {
		return 0
	}
	// -1 stands for unknown; so does, with some drivers, 65535.
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 31)
	if err != nil || n == 65535 {
		return 0
	}
	return uint32(n)
}

func (r *Router) wireless(device string) bool {
	for _, f := range []string{"phy80211", "wireless"} {
		if _, err := os.Lstat(filepath.Join(r.cfg.Sys, "class", "net", device, f)); err == nil {
			return true
		}
	}
	return false
}

// ports lists the bridge's ports with the stations learned there. A LAN without
// a bridge is its own one port.
func (r *Router) ports(links []netlink.Link, lan netlink.Link) ([]model.BridgePort, error) {
	at := map[int]int{}
	var out []model.BridgePort
	for _, l := range links {
		a := l.Attrs()
		if (a.MasterIndex != lan.Attrs().Index && (lan.Type() == "bridge" || a.Index != lan.Attrs().Index)) || len(out) == maxBridgePorts {
			continue
		}
		p := model.BridgePort{Device: a.Name, Up: isUp(l), SpeedMbps: r.speed(a.Name), Medium: model.MediumEthernet}
		if r.wireless(a.Name) {
			p.Medium, p.SpeedMbps = model.MediumWiFi, 0
		}
		at[a.Index] = len(out)
		out = append(out, p)
	}
	if lan.Type() != "bridge" {
		return out, nil
	}
	fdb, err := (*rtnetlink.Socket)(nil).Neighbors(0, unix.AF_BRIDGE)
	if err != nil {
		return nil, fmt.Errorf("list the stations on %s: %w", lan.Attrs().Name, err)
	}
	seen := map[model.MAC]bool{}
	for _, e := range fdb {
		i, ok := at[e.LinkIndex]
		// Permanent entries are the bridge's own addresses.
		if !ok || e.MasterIndex != lan.Attrs().Index || e.State&netlink.NUD_PERMANENT != 0 || len(e.HardwareAddr) != 6 {
			continue
		}
		m := model.MAC(e.HardwareAddr)
		if m.IsGroup() || m.IsZero() || seen[m] || len(out[i].MACs) == maxPortMACs {
			continue
		}
		seen[m] = true // once, whatever the VLANs
		out[i].MACs = append(out[i].MACs, m)
	}
	return out, nil
}

// neighbors lists who has been heard by ARP on the LAN.
func neighbors(lan netlink.Link) ([]model.Neighbor, error) {
	list, err := (*rtnetlink.Socket)(nil).Neighbors(lan.Attrs().Index, unix.AF_INET)
	if err != nil {
		return nil, fmt.Errorf("list the neighbours on %s: %w", lan.Attrs().Name, err)
	}
	const none = netlink.NUD_INCOMPLETE | netlink.NUD_FAILED | netlink.NUD_NOARP
	const reachable = netlink.NUD_REACHABLE | netlink.NUD_PERMANENT | netlink.NUD_DELAY | netlink.NUD_PROBE
	var out []model.Neighbor
	for _, e := range list {
		ip, ok := netip.AddrFromSlice(e.IP)
		if !ok || e.State&none != 0 || len(e.HardwareAddr) != 6 || len(out) == maxNeighbors {
			continue
		}
		n := model.Neighbor{MAC: model.MAC(e.HardwareAddr), Address: ip.Unmap(), Reachable: e.State&reachable != 0}
		if !n.MAC.IsZero() && !n.MAC.IsGroup() {
			out = append(out, n)
		}
	}
	return out, nil
}

// tcaCakeBaseRate64 is cake's bandwidth in bytes a second, 0 for none
// (include/uapi/linux/pkt_sched.h).
const tcaCakeBaseRate64 = 2

// shapes says whether a queue on the device limits the rate. The netlink
// package knows no cake, so the attributes are read here.
func shapes(index int) (bool, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETQDISC, unix.NLM_F_DUMP)
	req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(index)})
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWQDISC)
	if err != nil {
		return false, err
	}
	for _, m := range msgs {
		if len(m) < nl.SizeofTcMsg || int(nl.DeserializeTcMsg(m).Ifindex) != index {
			continue
		}
		attrs, err := nl.ParseRouteAttr(m[nl.SizeofTcMsg:])
		if err != nil {
			return false, err
		}
		if shaping(attrs) {
			return true, nil
		}
	}
	return false, nil
}

func shaping(attrs []syscall.NetlinkRouteAttr) bool {
	kind := ""
	var options []byte
	for _, a := range attrs {
		switch a.Attr.Type {
		case nl.TCA_KIND:
			kind = strings.TrimRight(string(a.Value), "\x00")
		case nl.TCA_OPTIONS:
			options = a.Value
		}
	}
	switch kind {
	case "htb", "hfsc", "tbf":
		return true
	case "cake", "cake_mq":
		inner, err := nl.ParseRouteAttr(options)
		if err != nil {
			return false
		}
		for _, a := range inner {
			if a.Attr.Type&^unix.NLA_F_NESTED == tcaCakeBaseRate64 && len(a.Value) >= 8 {
				return binary.NativeEndian.Uint64(a.Value) > 0
			}
		}
	}
	return false
}
