// Package rtnetlink asks the kernel for links and default routes. It does what
// vishvananda/netlink does, in that package's types, and leaves out what a home
// has none of: that package's readers know every tunnel and every kind of link,
// which is 200 KB on mipsle.
package rtnetlink

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ErrNoLink says that there is no link of a name.
var ErrNoLink = errors.New("no such network interface")

// Socket is a netlink socket in the network namespace in which it was opened.
// A nil one is opened for each request, in that of the calling thread.
type Socket struct {
	sockets map[int]*nl.SocketHandle
}

// Open opens a socket in the network namespace of the calling thread.
func Open() (*Socket, error) {
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.SetSendTimeout(&nl.SocketTimeoutTv), s.SetReceiveTimeout(&nl.SocketTimeoutTv)); err != nil {
		s.Close()
		return nil, err
	}
	return &Socket{map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}}, nil
}

// Close gives the socket back.
func (s *Socket) Close() { s.sockets[unix.NETLINK_ROUTE].Close() }

func (s *Socket) request(typ, flags int) *nl.NetlinkRequest {
	r := nl.NewNetlinkRequest(typ, flags)
	if s != nil {
		r.Sockets = s.sockets
	}
	return r
}

// Links lists all links. With netlink.ErrDumpInterrupted the list may have gaps.
func (s *Socket) Links() ([]netlink.Link, error) {
	r := s.request(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	r.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	r.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(nl.RTEXT_FILTER_VF)))
	msgs, dumpErr := r.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if dumpErr != nil && !errors.Is(dumpErr, netlink.ErrDumpInterrupted) {
		return nil, dumpErr
	}
	var out []netlink.Link
	for _, m := range msgs {
		l, err := ParseLink(m)
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, dumpErr
}

// Link finds a link by its name.
func (s *Socket) Link(name string) (netlink.Link, error) {
	r := s.request(unix.RTM_GETLINK, unix.NLM_F_ACK)
	r.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	r.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(nl.RTEXT_FILTER_VF)))
	r.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	msgs, err := r.Execute(unix.NETLINK_ROUTE, 0)
	switch {
	case errors.Is(err, unix.ENODEV):
		return nil, ErrNoLink
	case err != nil:
		return nil, err
	case len(msgs) != 1:
		return nil, fmt.Errorf("%d answers about link %s", len(msgs), name)
	}
	return ParseLink(msgs[0])
}

// ParseLink reads an RTM_NEWLINK or RTM_DELLINK message behind its header.
func ParseLink(m []byte) (netlink.Link, error) {
	if len(m) < unix.SizeofIfInfomsg {
		return nil, errors.New("a link message cut short")
	}
	msg := nl.DeserializeIfInfomsg(m)
	attrs, err := attributes(m[unix.SizeofIfInfomsg:])
	if err != nil {
		return nil, err
	}
	l := &netlink.GenericLink{LinkType: "device", LinkAttrs: netlink.LinkAttrs{Index: int(msg.Index), RawFlags: msg.Flags,
		Flags: flags(msg.Flags), EncapType: msg.EncapType()}}
	for _, a := range attrs {
		switch a.typ {
		case unix.IFLA_IFNAME:
			l.Name = text(a.value)
		case unix.IFLA_ADDRESS:
			for _, b := range a.value {
				if b != 0 { // a loopback's is all zeros
					l.HardwareAddr = net.HardwareAddr(a.value)
					break
				}
			}
		case unix.IFLA_MTU:
			l.MTU = number(a.value)
		case unix.IFLA_MASTER:
			l.MasterIndex = number(a.value)
		case unix.IFLA_OPERSTATE:
			if len(a.value) > 0 {
				l.OperState = netlink.LinkOperState(a.value[0])
			}
		case unix.IFLA_LINKINFO:
			if l.LinkType, err = kind(a.value); err != nil {
				return nil, err
			}
		}
	}
	return l, nil
}

func kind(b []byte) (string, error) {
	attrs, err := attributes(b)
	if err != nil {
		return "", err
	}
	for _, a := range attrs {
		if a.typ == nl.IFLA_INFO_KIND {
			return text(a.value), nil
		}
	}
	return "device", nil
}

type attribute struct {
	typ   uint16
	value []byte
}

// attributes reads the attributes (linux/rtnetlink.h, struct rtattr) that fill b.
func attributes(b []byte) ([]attribute, error) {
	var out []attribute
	for len(b) >= unix.SizeofRtAttr {
		size := int(nl.NativeEndian().Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return nil, fmt.Errorf("an attribute of %d bytes in %d", size, len(b))
		}
		typ := nl.NativeEndian().Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
		out = append(out, attribute{typ, b[unix.SizeofRtAttr:size]})
		b = b[min((size+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1), len(b)):]
	}
	return out, nil
}

func text(b []byte) string { return unix.ByteSliceToString(b) }

func number(b []byte) int {
	if len(b) < 4 {
		return 0
	}
	return int(nl.NativeEndian().Uint32(b))
}

func flags(raw uint32) net.Flags {
	var f net.Flags
	for _, b := range []struct {
		raw  uint32
		flag net.Flags
	}{
		{unix.IFF_UP, net.FlagUp}, {unix.IFF_BROADCAST, net.FlagBroadcast}, {unix.IFF_LOOPBACK, net.FlagLoopback},
		{unix.IFF_POINTOPOINT, net.FlagPointToPoint}, {unix.IFF_MULTICAST, net.FlagMulticast}, {unix.IFF_RUNNING, net.FlagRunning},
	} {
		if raw&b.raw != 0 {
			f |= b.flag
		}
	}
	return f
}

// Subscribe sends what changes about links until done is closed, and closes ch
// then or when reading fails. failed is told what was not read;
// buffer is the socket's, in bytes, 0 for the kernel's own choice.
func Subscribe(ch chan<- netlink.LinkUpdate, done <-chan struct{}, failed func(error), buffer int) error {
	return subscribe(unix.RTNLGRP_LINK, done, failed, buffer, func() { close(ch) }, func(m syscall.NetlinkMessage) error {
		if m.Header.Type != unix.RTM_NEWLINK && m.Header.Type != unix.RTM_DELLINK {
			return nil
		}
		l, err := ParseLink(m.Data)
		if err == nil {
			ch <- netlink.LinkUpdate{IfInfomsg: *nl.DeserializeIfInfomsg(m.Data), Header: unix.NlMsghdr(m.Header), Link: l}
		}
		return err
	})
}

func subscribe(group uint, done <-chan struct{}, failed func(error), buffer int, end func(), take func(syscall.NetlinkMessage) error) error {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, group)
	if err != nil {
		return err
	}
	if buffer != 0 {
		if err := s.SetReceiveBufferSize(buffer, false); err != nil {
			s.Close()
			return err
		}
	}
	go func() {
		<-done
		s.Close()
	}()
	go func() {
		defer end()
		for {
			msgs, from, err := s.Receive()
			if err != nil {
				failed(fmt.Errorf("read events: %w", err))
				return
			}
			if from.Pid != nl.PidKernel {
				continue // anybody can send to the socket
			}
			for _, m := range msgs {
				if err := take(m); err != nil {
					failed(err)
				}
			}
		}
	}()
	return nil
}
