package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// StreamOptions say what a stream is like.
type StreamOptions struct {
	Interface string
	Group     netip.AddrPort
	TTL       int           // 0: 16
	Size      int           // bytes of payload; 0: 1316, seven MPEG-TS packets
	Every     time.Duration // between packets; 0: 2 ms, some 5 Mbit/s
}

// Stream sends numbered UDP packets to a group, as an IPTV head end does.
type Stream struct {
	sent atomic.Uint64
	end  func()
}

// Stream begins to send.
func (h *Host) Stream(o StreamOptions) (*Stream, error) {
	o.TTL, o.Size, o.Every = or(o.TTL, 16), max(or(o.Size, 1316), 8), or(o.Every, 2*time.Millisecond)
	c, err := h.udp(o.Interface, ":0", func(fd, ifindex int) error {
		return errors.Join(
			unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(ifindex)}),
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, o.TTL),
		)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: stream to %v: %w", h.Name, o.Group, err)
	}
	s := &Stream{}
	var done sync.WaitGroup
	stop := make(chan struct{})
	s.end = sync.OnceFunc(func() { close(stop); c.Close(); done.Wait() })
	if !h.Lab.onClose(s.end) {
		c.Close()
		return nil, fmt.Errorf("%s: stream to %v: the lab is closed", h.Name, o.Group)
	}
	done.Go(func() {
		tick := time.NewTicker(o.Every)
		defer tick.Stop()
		b := make([]byte, o.Size)
		for {
			binary.BigEndian.PutUint64(b, s.sent.Load())
			if _, err := c.WriteToUDPAddrPort(b, o.Group); err == nil {
				s.sent.Add(1)
			}
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	return s, nil
}

// Sent counts the packets sent.
func (s *Stream) Sent() uint64 { return s.sent.Load() }

// Stop ends the stream. It may be called again.
func (s *Stream) Stop() { s.end() }

// Receiver is a player: it joins a group and counts what comes.
type Receiver struct {
	end func()

	mu       sync.Mutex
	received uint64
	dscp     map[uint8]uint64
	first    time.Time
	last     time.Time
	gap      time.Duration
	more     chan struct{} // closed and made anew at each packet
}

// Receive joins a group on an interface. The interface has to have its address
// by now: an IGMP proxy ignores reports from 0.0.0.0.
func (h *Host) Receive(ifname string, group netip.AddrPort) (*Receiver, error) {
	c, err := h.udp(ifname, fmt.Sprintf(":%d", group.Port()), func(fd, ifindex int) error {
		return errors.Join(
			// Only what this socket joined, not what others did.
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0),
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVTOS, 1),
			unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{
				Multiaddr: group.Addr().As4(), Ifindex: int32(ifindex),
			}),
		)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: receive %v: %w", h.Name, group, err)
	}
	r := &Receiver{dscp: make(map[uint8]uint64), more: make(chan struct{})}
	var done sync.WaitGroup
	r.end = sync.OnceFunc(func() { c.Close(); done.Wait() })
	if !h.Lab.onClose(r.end) {
		c.Close()
		return nil, fmt.Errorf("%s: receive %v: the lab is closed", h.Name, group)
	}
	done.Go(func() {
		b, oob := make([]byte, 2048), make([]byte, 128)
		for {
			_, n, _, _, err := c.ReadMsgUDPAddrPort(b, oob)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				r.count(time.Now(), tos(oob[:n])>>2)
			}
		}
	})
	return r, nil
}

// tos finds the type of service in control messages.
func tos(oob []byte) uint8 {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return 0
	}
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_TOS && len(m.Data) > 0 {
			return m.Data[0]
		}
	}
	return 0
}

func (r *Receiver) count(now time.Time, dscp uint8) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.received == 0 {
		r.first = now
	} else {
		r.gap = max(r.gap, now.Sub(r.last))
	}
	r.received++
	r.last = now
	r.dscp[dscp]++
	close(r.more)
	r.more = make(chan struct{})
}

// Received counts the packets that came.
func (r *Receiver) Received() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.received
}

// DSCP counts the packets that came by their DSCP.
func (r *Receiver) DSCP() map[uint8]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[uint8]uint64)
	for k, v := range r.dscp {
		out[k] = v
	}
	return out
}

// Gap is the longest time between two packets so far, and First when the first
// one came.
func (r *Receiver) Gap() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gap
}

// First is when the first packet came.
func (r *Receiver) First() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first
}

// Wait waits until n more packets have come, by their DSCP or, with a negative
// one, any.
func (r *Receiver) Wait(ctx context.Context, n uint64, dscp int) error {
	var want uint64
	for begin := true; ; begin = false {
		r.mu.Lock()
		have, more := r.received, r.more
		if dscp >= 0 {
			have = r.dscp[uint8(dscp)]
		}
		r.mu.Unlock()
		if begin {
			want = have + n
		}
		if have >= want {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %d packets of the stream: %d are missing: %w", n, want-have, ctx.Err())
		case <-more:
		}
	}
}

// Leave leaves the group. It may be called again.
func (r *Receiver) Leave() { r.end() }

// udp opens a UDP socket in the host.
func (h *Host) udp(ifname, address string, set func(fd, ifindex int) error) (*net.UDPConn, error) {
	var c net.PacketConn
	err := h.Do(func() error {
		ifi, err := net.InterfaceByName(ifname)
		if err != nil {
			return err
		}
		config := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
			var inner error
			err := rc.Control(func(fd uintptr) {
				inner = errors.Join(
					unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
					set(int(fd), ifi.Index),
				)
			})
			return errors.Join(err, inner)
		}}
		c, err = config.ListenPacket(context.Background(), "udp4", address)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// or is v, or if that is zero, otherwise.
func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
