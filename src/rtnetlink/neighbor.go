package rtnetlink

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// sizeofNdmsg is that of linux/neighbour.h's struct ndmsg.
const sizeofNdmsg = 12

// Neighbors lists a link's neighbours of a family; with AF_BRIDGE and link 0 the
// forwarding entries of all bridges. With netlink.ErrDumpInterrupted the list may
// have gaps.
func (s *Socket) Neighbors(link int, family uint8) ([]netlink.Neigh, error) {
	r := s.request(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
	r.AddData(&netlink.Ndmsg{Family: family, Index: uint32(link)})
	msgs, dumpErr := r.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	if dumpErr != nil && !errors.Is(dumpErr, netlink.ErrDumpInterrupted) {
		return nil, dumpErr
	}
	var out []netlink.Neigh
	for _, m := range msgs {
		n, err := parseNeighbor(m)
		if err != nil {
			return nil, err
		}
		// Older kernels list those of every link.
		if n.Family == int(family) && (link == 0 || n.LinkIndex == link) {
			out = append(out, n)
		}
	}
	return out, dumpErr
}

// parseNeighbor reads an RTM_NEWNEIGH or RTM_DELNEIGH message behind its header.
func parseNeighbor(m []byte) (netlink.Neigh, error) {
	var n netlink.Neigh
	if len(m) < sizeofNdmsg {
		return n, errors.New("a neighbour message cut short")
	}
	n = netlink.Neigh{Family: int(m[0]), LinkIndex: number(m[4:]), State: int(nl.NativeEndian().Uint16(m[8:])), Flags: int(m[10]), Type: int(m[11])}
	attrs, err := attributes(m[sizeofNdmsg:])
	if err != nil {
		return n, err
	}
	for _, a := range attrs {
		switch a.typ {
		case unix.NDA_DST:
			n.IP = net.IP(a.value)
		case unix.NDA_LLADDR:
			n.HardwareAddr = net.HardwareAddr(a.value)
		case unix.NDA_MASTER:
			n.MasterIndex = number(a.value)
		case unix.NDA_CACHEINFO: // struct nda_cacheinfo
			if len(a.value) >= 12 {
				n.Confirmed, n.Used, n.Updated = uint32(number(a.value)), uint32(number(a.value[4:])), uint32(number(a.value[8:]))
			}
		}
	}
	return n, nil
}

// DeleteNeighbor has the kernel forget an IPv4 neighbour.
func (s *Socket) DeleteNeighbor(link int, a netip.Addr) error {
	r := s.request(unix.RTM_DELNEIGH, unix.NLM_F_ACK)
	r.AddData(&netlink.Ndmsg{Family: unix.AF_INET, Index: uint32(link), State: unix.NUD_PERMANENT})
	r.AddData(nl.NewRtAttr(unix.NDA_DST, a.AsSlice()))
	_, err := r.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// SubscribeNeighbors is Subscribe for neighbours.
func SubscribeNeighbors(ch chan<- netlink.NeighUpdate, done <-chan struct{}, failed func(error), buffer int) error {
	return subscribe(unix.RTNLGRP_NEIGH, done, failed, buffer, func() { close(ch) }, func(m syscall.NetlinkMessage) error {
		if m.Header.Type != unix.RTM_NEWNEIGH && m.Header.Type != unix.RTM_DELNEIGH {
			return nil
		}
		n, err := parseNeighbor(m.Data)
		if err == nil {
			ch <- netlink.NeighUpdate{Type: m.Header.Type, Neigh: n}
		}
		return err
	})
}
