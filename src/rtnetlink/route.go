package rtnetlink

import (
	"errors"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// DefaultRoutes lists the IPv4 default routes of the main table. One over
// several next hops has neither a gateway nor a link.
func (s *Socket) DefaultRoutes() ([]netlink.Route, error) {
	r := s.request(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
	r.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET}})
	msgs, err := r.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE)
	if err != nil {
		return nil, err
	}
	var out []netlink.Route
	for _, m := range msgs {
		if len(m) < unix.SizeofRtMsg {
			return nil, errors.New("a route message cut short")
		}
		msg := nl.DeserializeRtMsg(m)
		if msg.Family != unix.AF_INET || msg.Dst_len != 0 || msg.Table != unix.RT_TABLE_MAIN || msg.Flags&unix.RTM_F_CLONED != 0 {
			continue
		}
		route, err := parseRoute(msg, m[unix.SizeofRtMsg:])
		if err != nil {
			return nil, err
		}
		out = append(out, route)
	}
	return out, nil
}

func parseRoute(msg *nl.RtMsg, b []byte) (netlink.Route, error) {
	r := netlink.Route{Scope: netlink.Scope(msg.Scope), Protocol: netlink.RouteProtocol(msg.Protocol), Table: int(msg.Table),
		Type: int(msg.Type), Tos: int(msg.Tos), Flags: int(msg.Flags), Family: int(msg.Family)}
	attrs, err := attributes(b)
	if err != nil {
		return r, err
	}
	for _, a := range attrs {
		switch a.typ {
		case unix.RTA_GATEWAY:
			r.Gw = net.IP(a.value)
		case unix.RTA_PREFSRC:
			r.Src = net.IP(a.value)
		case unix.RTA_OIF:
			r.LinkIndex = number(a.value)
		case unix.RTA_PRIORITY:
			r.Priority = number(a.value)
		}
	}
	return r, nil
}

// ReplaceDefault sets a default route, in the place of one of the same metric.
func (s *Socket) ReplaceDefault(r *netlink.Route) error {
	return s.change(r, unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
}

// DeleteDefault removes a default route, as DefaultRoutes has it.
func (s *Socket) DeleteDefault(r *netlink.Route) error {
	return s.change(r, unix.RTM_DELROUTE, unix.NLM_F_ACK)
}

func (s *Socket) change(r *netlink.Route, typ, flags int) error {
	msg := &nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Table: unix.RT_TABLE_MAIN, Scope: uint8(r.Scope),
		Protocol: uint8(r.Protocol), Type: uint8(r.Type), Tos: uint8(r.Tos)}}
	req := s.request(typ, flags)
	req.AddData(msg)
	if a := r.Src.To4(); a != nil {
		req.AddData(nl.NewRtAttr(unix.RTA_PREFSRC, a))
	}
	if a := r.Gw.To4(); a != nil {
		req.AddData(nl.NewRtAttr(unix.RTA_GATEWAY, a))
	}
	if r.Priority > 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(uint32(r.Priority))))
	}
	req.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(r.LinkIndex))))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
