package gateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"homeconf/src/model"
)

// What is established through an opening goes on when the opening is gone: the
// kernel asks no rule for it. Its entries are deleted through the kernel's own
// interface (ctnetlink), for the program conntrack is on few routers.

// The messages and attributes of linux/netfilter/nfnetlink_conntrack.h.
const (
	ctNew    = unix.NFNL_SUBSYS_CTNETLINK << 8
	ctGet    = ctNew | 1
	ctDelete = ctNew | 2

	ctaOrig, ctaReply                   = 1, 2
	ctaTupleIP, ctaTupleProto           = 1, 2
	ctaSrc, ctaDst                      = 1, 2
	ctaProtoNum, ctaSrcPort, ctaDstPort = 1, 2, 3
	nlaTypeMask                         = 0x3fff
	maxFlows                            = 4096
	cutRounds, cutPause                 = 24, 20 * time.Millisecond
	headerSize                          = 16 + 4 // nlmsghdr and nfgenmsg
	flowTimeout                         = 2      // seconds for an answer
)

// tuple is one direction of a connection.
type tuple struct {
	protocol         uint8
	src, dst         netip.Addr
	srcPort, dstPort uint16
}

// attribute is one of netlink's: a type, and what is in it. It gives the rest of
// the bytes, too; ok is false at the end, and where the bytes make no sense.
func attribute(b []byte) (typ uint16, value, rest []byte, ok bool) {
	if len(b) < 4 {
		return 0, nil, nil, false
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < 4 || n > len(b) {
		return 0, nil, nil, false
	}
	return binary.NativeEndian.Uint16(b[2:]) & nlaTypeMask, b[4:n], b[min((n+3)&^3, len(b)):], true
}

func parseTuple(b []byte) (t tuple) {
	for typ, v, rest, ok := attribute(b); ok; typ, v, rest, ok = attribute(rest) {
		for in, w, more, ok := attribute(v); ok; in, w, more, ok = attribute(more) {
			switch {
			case typ == ctaTupleIP && in == ctaSrc && len(w) == 4:
				t.src = netip.AddrFrom4([4]byte(w))
			case typ == ctaTupleIP && in == ctaDst && len(w) == 4:
				t.dst = netip.AddrFrom4([4]byte(w))
			case typ == ctaTupleProto && in == ctaProtoNum && len(w) == 1:
				t.protocol = w[0]
			case typ == ctaTupleProto && in == ctaSrcPort && len(w) == 2:
				t.srcPort = binary.BigEndian.Uint16(w)
			case typ == ctaTupleProto && in == ctaDstPort && len(w) == 2:
				t.dstPort = binary.BigEndian.Uint16(w)
			}
		}
	}
	return t
}

// parseFlow reads an entry: its two directions, and the first as it stands.
func parseFlow(b []byte) (orig, reply tuple, raw []byte) {
	for typ, v, rest, ok := attribute(b); ok; typ, v, rest, ok = attribute(rest) {
		switch typ {
		case ctaOrig:
			orig, raw = parseTuple(v), v
		case ctaReply:
			reply = parseTuple(v)
		}
	}
	return orig, reply, raw
}

// peer is who was connected through an opening.
type peer struct {
	redirect int
	addr     netip.Addr
	port     uint16
}

// through says whether a connection came in by one of the redirects. The kernel
// picks a TCP connection up in its middle, so one that was cut may come back as
// the device's own, to the same peer: that counts too.
func through(redirects []model.Redirect, peers map[peer]bool, orig, reply tuple) bool {
	for i, r := range redirects {
		if protocolOf(orig.protocol) != r.Protocol {
			continue
		}
		switch {
		case orig.dstPort == r.External && reply.src == r.Address && reply.srcPort == r.Port:
			if len(peers) < maxFlows {
				peers[peer{i, orig.src, orig.srcPort}] = true
			}
			return true
		case orig.src == r.Address && orig.srcPort == r.Port && peers[peer{i, orig.dst, orig.dstPort}]:
			return true
		}
	}
	return false
}

func protocolOf(n uint8) model.Protocol {
	switch n {
	case unix.IPPROTO_TCP:
		return model.TCP
	case unix.IPPROTO_UDP:
		return model.UDP
	}
	return ""
}

// cutFlows ends the connections that came in by redirects which are gone, until
// none comes back. It says how many there were.
func cutFlows(proc string, redirects []model.Redirect) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return 0, fmt.Errorf("open netlink: %w", err)
	}
	defer unix.Close(fd)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: flowTimeout})
	total, quiet := 0, 0
	peers := map[peer]bool{}
	for range cutRounds {
		n, err := cutOnce(fd, redirects, peers)
		if err != nil {
			if total == 0 && flushFlows(proc, redirects) {
				return 0, nil
			}
			return total, err
		}
		total += n
		if quiet++; n > 0 {
			quiet = 0
		}
		if total == 0 || quiet == 2 {
			break
		}
		time.Sleep(cutPause)
	}
	return total, nil
}

func cutOnce(fd int, redirects []model.Redirect, peers map[peer]bool) (int, error) {
	var doomed [][]byte
	err := exchange(fd, ctGet, unix.NLM_F_DUMP, nil, func(b []byte) {
		orig, reply, raw := parseFlow(b)
		if raw != nil && len(doomed) < maxFlows && through(redirects, peers, orig, reply) {
			doomed = append(doomed, bytes.Clone(raw))
		}
	})
	if err != nil {
		return 0, fmt.Errorf("list the connections: %w", err)
	}
	for _, raw := range doomed {
		a := binary.NativeEndian.AppendUint16(nil, uint16(4+len(raw)))
		a = binary.NativeEndian.AppendUint16(a, ctaOrig|unix.NLA_F_NESTED)
		a = append(a, raw...)
		if err := exchange(fd, ctDelete, unix.NLM_F_ACK, a, nil); err != nil && !errors.Is(err, unix.ENOENT) {
			return 0, fmt.Errorf("end a connection: %w", err)
		}
	}
	return len(doomed), nil
}

// exchange sends one request about IPv4 connections and reads what comes back.
func exchange(fd int, typ, flags uint16, attrs []byte, each func([]byte)) error {
	b := binary.NativeEndian.AppendUint32(nil, uint32(headerSize+len(attrs)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0) // sequence and port: one request at a time
	b = append(b, unix.AF_INET, unix.NFNETLINK_V0, 0, 0)
	b = append(b, attrs...)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, 32<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if done, err := answer(buf[:n], typ, each); done || err != nil {
			return err
		}
	}
}

// answer walks the messages of one datagram.
func answer(b []byte, asked uint16, each func([]byte)) (done bool, err error) {
	for len(b) >= 16 {
		n := int(binary.NativeEndian.Uint32(b))
		if n < 16 || n > len(b) {
			return true, errors.New("an answer of the kernel's is malformed")
		}
		switch typ := binary.NativeEndian.Uint16(b[4:]); {
		case typ == unix.NLMSG_DONE:
			return true, nil
		case typ == unix.NLMSG_ERROR:
			if n < 20 {
				return true, errors.New("an answer of the kernel's is malformed")
			}
			if code := int32(binary.NativeEndian.Uint32(b[16:])); code != 0 {
				return true, unix.Errno(-code)
			}
			return true, nil
		case typ == ctNew && asked == ctGet && n >= headerSize && each != nil:
			each(b[headerSize:n])
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return false, nil
}

// flushFlows is for an OpenWrt kernel without ctnetlink: its own addition takes
// an address, all of whose connections it ends.
func flushFlows(proc string, redirects []model.Redirect) bool {
	for _, r := range redirects {
		f, err := os.OpenFile(filepath.Join(proc, "net", "nf_conntrack"), os.O_WRONLY, 0)
		if err != nil {
			return false
		}
		_, err = f.WriteString(r.Address.String() + "\n")
		if err = errors.Join(err, f.Close()); err != nil {
			return false
		}
	}
	return true
}
