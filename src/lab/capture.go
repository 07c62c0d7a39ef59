package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// maxCaptured is how many packets a capture keeps; later ones are only counted.
const maxCaptured = 65536

// Packet is a captured frame, of either direction.
type Packet struct {
	Time time.Time
	Data []byte // from the Ethernet header on
}

// EtherType is the frame's type.
func (p Packet) EtherType() uint16 {
	if len(p.Data) < 14 {
		return 0
	}
	return binary.BigEndian.Uint16(p.Data[12:])
}

// Source and Destination are the frame's addresses.
func (p Packet) Source() net.HardwareAddr { return p.address(6) }

// Destination is whom the frame is for.
func (p Packet) Destination() net.HardwareAddr { return p.address(0) }

func (p Packet) address(at int) net.HardwareAddr {
	if len(p.Data) < 14 {
		return nil
	}
	return net.HardwareAddr(p.Data[at : at+6])
}

// IPv4 reads the header of an IPv4 packet.
func (p Packet) IPv4() (src, dst netip.Addr, dscp, protocol uint8, ok bool) {
	if p.EtherType() != unix.ETH_P_IP || len(p.Data) < 34 {
		return
	}
	h := p.Data[14:]
	return netip.AddrFrom4([4]byte(h[12:16])), netip.AddrFrom4([4]byte(h[16:20])), h[1] >> 2, h[9], true
}

// Capture hears all frames at an interface.
type Capture struct {
	end     func()
	stopped atomic.Bool

	mu      sync.Mutex
	packets []Packet
	missed  int
	more    chan struct{}
}

// Capture begins to keep the frames that pass an interface and keep, which may
// be nil and is called from one goroutine.
func (h *Host) Capture(ifname string, keep func(Packet) bool) (*Capture, error) {
	var conn *packet.Conn
	err := h.Do(func() error {
		ifi, err := net.InterfaceByName(ifname)
		if err == nil {
			conn, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: capture at %s: %w", h.Name, ifname, err)
	}
	c := &Capture{more: make(chan struct{})}
	var done sync.WaitGroup
	c.end = sync.OnceFunc(func() { c.stopped.Store(true); conn.Close(); done.Wait() })
	if !h.Lab.onClose(c.end) {
		conn.Close()
		return nil, fmt.Errorf("%s: capture at %s: the lab is closed", h.Name, ifname)
	}
	done.Go(func() {
		buf := make([]byte, 65536)
		for {
			n, _, err := conn.ReadFrom(buf)
			switch {
			case c.stopped.Load():
				return
			case errors.Is(err, unix.ENETDOWN):
				continue // said once; the interface may come up again
			case err != nil:
				fmt.Fprintf(os.Stderr, "%s: capture at %s: %v\n", h.Name, ifname, err)
				return
			}
			p := Packet{Time: time.Now(), Data: slices.Clone(buf[:n])}
			if keep == nil || keep(p) {
				c.add(p)
			}
		}
	})
	return c, nil
}

func (c *Capture) add(p Packet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.packets) == maxCaptured {
		c.missed++
		return
	}
	c.packets = append(c.packets, p)
	close(c.more)
	c.more = make(chan struct{})
}

// Packets lists what was kept so far.
func (c *Capture) Packets() []Packet {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.packets)
}

// Missed counts the packets that came when no more were kept.
func (c *Capture) Missed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.missed
}

// Wait waits until n packets were kept in all.
func (c *Capture) Wait(ctx context.Context, n int) error {
	for {
		c.mu.Lock()
		have, more := len(c.packets), c.more
		c.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %d captured packets: %d came: %w", n, have, ctx.Err())
		case <-more:
		}
	}
}

// Stop ends the capture; what it kept stays. It may be called again.
func (c *Capture) Stop() { c.end() }
