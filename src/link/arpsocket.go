package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/packet"
)

const (
	probeRounds = 3
	probeEvery  = 60 * time.Millisecond  // between rounds
	probeTime   = 200 * time.Millisecond // in all, the wait after the last round included
	// maxProbe bounds the addresses of one Probe: a /24 and no more.
	maxProbe = 256

	announcements = 2
	// announceEvery is shorter than RFC 5227's ANNOUNCE_INTERVAL of 2 s: the
	// second announcement stands in for a first one lost at link up.
	announceEvery = 10 * time.Millisecond

	resolveFirst = 10 * time.Millisecond // doubled for each request up to
	resolveMax   = time.Second
)

// arpSocket sends and receives ARP on one interface.
type arpSocket struct {
	conn *packet.Conn
	name string
	mac  MAC
	buf  [headerSize + arpSize]byte
}

func openARP(ifname string) (*arpSocket, error) {
	ifi, err := ethernet(ifname)
	if err != nil {
		return nil, err
	}
	program, err := arpFilter()
	if err != nil {
		return nil, err
	}
	c, err := packet.Listen(ifi, packet.Raw, etherTypeARP, &packet.Config{Filter: program})
	if err != nil {
		return nil, fmt.Errorf("open ARP socket on %s: %w", ifname, sentinel(err))
	}
	return &arpSocket{conn: c, name: ifname, mac: MAC(ifi.HardwareAddr)}, nil
}

// broadcast sends a request to everybody.
func (s *arpSocket) broadcast(a arp) error {
	b := make([]byte, 0, headerSize+arpSize)
	b = append(b, Broadcast[:]...)
	b = append(b, s.mac[:]...)
	b = append(b, etherTypeARP>>8, etherTypeARP&0xff)
	b = a.append(b)
	if _, err := s.conn.WriteTo(b, &packet.Addr{HardwareAddr: Broadcast[:]}); err != nil {
		return fmt.Errorf("send ARP on %s: %w", s.name, sentinel(err))
	}
	return nil
}

// receive waits for a packet until the deadline.
func (s *arpSocket) receive(deadline time.Time) (arp, error) {
	s.conn.SetReadDeadline(deadline)
	for {
		n, _, err := s.conn.ReadFrom(s.buf[:])
		if err != nil {
			return arp{}, err
		}
		if n < headerSize {
			continue
		}
		if a, err := parseARP(s.buf[headerSize:n]); err == nil && a.sender != s.mac && !IsGroup(a.sender) {
			return a, nil
		}
	}
}

// exchange sends what send says at the times that it says, starting now, and
// hands what comes to take, until take is content, send's zero time was
// reached, or ctx is done.
func (s *arpSocket) exchange(ctx context.Context, send func(round int) (next time.Time, err error), take func(arp) bool) error {
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer stop()
	for round := 0; ; round++ {
		next, err := send(round)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return err
		case next.IsZero():
			return nil
		}
		for {
			a, err := s.receive(next)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				var t net.Error
				if errors.As(err, &t) && t.Timeout() {
					break
				}
				return fmt.Errorf("receive ARP on %s: %w", s.name, sentinel(err))
			}
			if take(a) {
				return nil
			}
		}
	}
}

// Probe asks in three rounds, for all addresses at once, who has them, and
// answers after 200 ms, or as soon as all are known to be held, which ones are in use and
// by whom (RFC 5227, 2.1.1). Another host that probes for an address at the
// same time counts as its user. This interface's own address and those of
// exclude are nobody: the gateway's, say, or the device's own that is meant to
// have the address.
func Probe(ctx context.Context, ifname string, addrs []netip.Addr, exclude ...MAC) (map[netip.Addr]MAC, error) {
	asked := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		if a = a.Unmap(); !a.Is4() || a.IsUnspecified() {
			return nil, fmt.Errorf("probe address %v: not an IPv4 address", a)
		}
		asked[a] = true
	}
	if len(asked) > maxProbe {
		return nil, fmt.Errorf("probe %d addresses: at most %d at once", len(asked), maxProbe)
	}
	taken := make(map[netip.Addr]MAC)
	held := make(map[netip.Addr]bool) // by one who has the address already
	if len(asked) == 0 {
		return taken, nil
	}
	s, err := openARP(ifname)
	if err != nil {
		return nil, err
	}
	defer s.conn.Close()

	start := time.Now()
	send := func(round int) (time.Time, error) {
		if round == probeRounds {
			return time.Time{}, nil
		}
		for a := range asked {
			if held[a] {
				continue
			}
			// The sender's IP address is all zero, so that nobody's cache is
			// polluted (RFC 5227, 2.1.1).
			err := s.broadcast(arp{operation: arpRequest, sender: s.mac, senderIP: netip.IPv4Unspecified(), targetIP: a})
			if err != nil {
				return time.Time{}, err
			}
		}
		if round == probeRounds-1 {
			return start.Add(probeTime), nil
		}
		return start.Add(time.Duration(round+1) * probeEvery), nil
	}
	take := func(a arp) bool {
		ip := a.senderIP
		// A probe of somebody else's: we go on asking, so that they hear us.
		rival := ip.IsUnspecified() && a.operation == arpRequest
		if rival {
			ip = a.targetIP
		}
		if !asked[ip] || held[ip] || slices.Contains(exclude, a.sender) {
			return false
		}
		taken[ip] = a.sender
		if !rival {
			held[ip] = true
		}
		return len(held) == len(asked)
	}
	if err := s.exchange(ctx, send, take); err != nil {
		return nil, fmt.Errorf("probe addresses: %w", err)
	}
	return taken, nil
}

// Announce tells everybody that addr is at this interface, by two gratuitous
// requests (RFC 5227, 2.3), so that no cache keeps what it knew before.
func Announce(ctx context.Context, ifname string, addr netip.Addr) error {
	rest, err := Announcing(ifname, addr)
	if err != nil {
		return err
	}
	return rest(ctx)
}

// Announcing is Announce for those in a hurry: the first request is sent when
// it returns, and rest, which must be called, waits and sends the second one.
func Announcing(ifname string, addr netip.Addr) (rest func(context.Context) error, err error) {
	addr = addr.Unmap()
	if !addr.Is4() || addr.IsUnspecified() {
		return nil, fmt.Errorf("announce address %v: not an IPv4 address", addr)
	}
	s, err := openARP(ifname)
	if err != nil {
		return nil, err
	}
	send := func() error {
		if err := s.broadcast(arp{operation: arpRequest, sender: s.mac, senderIP: addr, targetIP: addr}); err != nil {
			return fmt.Errorf("announce address %v: %w", addr, err)
		}
		return nil
	}
	if err := send(); err != nil {
		s.conn.Close()
		return nil, err
	}
	return func(ctx context.Context) error {
		defer s.conn.Close()
		for range announcements - 1 {
			select {
			case <-ctx.Done():
				return fmt.Errorf("announce address %v: %w", addr, ctx.Err())
			case <-time.After(announceEvery):
			}
			if err := send(); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// Resolve asks who has addr, again and again until ctx is done, and answers
// with the address of the one who says so. from is this host's own address; the
// zero Addr asks without one, as a probe does.
func Resolve(ctx context.Context, ifname string, from, addr netip.Addr) (MAC, error) {
	from, addr = from.Unmap(), addr.Unmap()
	if !from.Is4() {
		from = netip.IPv4Unspecified()
	}
	if !addr.Is4() || addr.IsUnspecified() {
		return MAC{}, fmt.Errorf("resolve address %v: not an IPv4 address", addr)
	}
	s, err := openARP(ifname)
	if err != nil {
		return MAC{}, err
	}
	defer s.conn.Close()
	var found MAC
	send := func(round int) (time.Time, error) {
		wait := min(resolveFirst<<min(round, 10), resolveMax)
		return time.Now().Add(wait), s.broadcast(arp{operation: arpRequest, sender: s.mac, senderIP: from, targetIP: addr})
	}
	take := func(a arp) bool {
		if a.operation != arpReply || a.senderIP != addr || a.target != s.mac {
			return false
		}
		found = a.sender
		return true
	}
	if err := s.exchange(ctx, send, take); err != nil {
		return MAC{}, fmt.Errorf("resolve address %v: %w", addr, err)
	}
	return found, nil
}

// WatchConflicts hears all ARP until ctx is done and reports who says that it
// has which address. It returns nil then, and ErrDown when the interface goes
// down. report is called from within and must be quick.
func WatchConflicts(ctx context.Context, ifname string, report func(addr netip.Addr, mac MAC)) error {
	s, err := openARP(ifname)
	if err != nil {
		return err
	}
	defer s.conn.Close()
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer stop()
	for {
		a, err := s.receive(time.Time{})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("watch ARP on %s: %w", ifname, sentinel(err))
		case !a.senderIP.IsUnspecified():
			report(a.senderIP, a.sender)
		}
	}
}
