package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/packet"
	//lint:ignore SA1019 raw is a thin cover of packet by now, whose small API is all that the plain socket needs
	"github.com/mdlayher/raw"
	"golang.org/x/sys/unix"
)

// sendPatience is how long Send waits for room in the socket's send buffer. A
// driver that stalls for longer loses frames, as a full queue does.
const sendPatience = 20 * time.Millisecond

// packetConn is what raw.Conn and packet.Conn have in common.
type packetConn interface {
	net.PacketConn
	counters() (received, dropped uint64, err error)
}

// socket is the Port on a real interface.
type socket struct {
	name      string
	etherType uint16
	conn      packetConn
	address   func(MAC) net.Addr // as conn wants it
	members   *packet.Conn       // silent; holds the group memberships
	frames    sync.Pool          // of *[BufferSize]byte, to send from

	mac    atomic.Pointer[MAC]
	mtu    atomic.Int32
	closed atomic.Bool
	down   atomic.Bool
	deaf   bool

	sent, received, lost, refused atomic.Uint64
}

var _ CounterPort = (*socket)(nil)

// Open opens a packet socket on an interface, which must be up. The interface
// must be the bridge where there is one: its ports hear nothing.
func Open(ifname string, o Options) (Port, error) {
	s, err := open(ifname, o)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func open(ifname string, o Options) (*socket, error) {
	ifi, err := ethernet(ifname)
	if err != nil {
		return nil, err
	}
	if ifi.Flags&net.FlagUp == 0 {
		return nil, fmt.Errorf("open interface %s: %w", ifname, ErrDown)
	}
	s := &socket{name: ifname, etherType: o.EtherType}
	s.frames.New = func() any { return new([BufferSize]byte) }
	s.set(MAC(ifi.HardwareAddr), ifi.MTU)
	if err := s.listen(ifi, o); err != nil {
		return nil, fmt.Errorf("open packet socket on %s: %w", ifname, sentinel(err))
	}
	s.join(ifi, o.Groups)
	return s, nil
}

// ethernet finds an interface whose frames have Ethernet's header.
func ethernet(ifname string) (*net.Interface, error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		// net says "no such network interface" in an error of its own.
		var op *net.OpError
		if errors.As(err, &op) && !errors.As(err, new(*os.SyscallError)) {
			return nil, fmt.Errorf("open interface %s: %w: %w", ifname, ErrDown, op.Err)
		}
		return nil, fmt.Errorf("open interface %s: %w", ifname, err)
	}
	if len(ifi.HardwareAddr) != 6 || ifi.Flags&net.FlagLoopback != 0 {
		return nil, fmt.Errorf("open interface %s: %w", ifname, ErrNotEthernet)
	}
	return ifi, nil
}

// ErrNotEthernet says that an interface has no Ethernet address.
var ErrNotEthernet = errors.New("not an Ethernet interface")

// listen opens the socket that frames pass through. raw is asked, unless the
// receive buffer's size is given, which raw can't set.
func (s *socket) listen(ifi *net.Interface, o Options) error {
	program, err := filter(o.EtherType)
	if err != nil {
		return err
	}
	if o.ReceiveBuffer <= 0 {
		// The filter is set before the socket is bound: nothing else enters.
		c, err := raw.ListenPacket(ifi, o.EtherType, &raw.Config{Filter: program})
		if err != nil {
			return err
		}
		s.conn = rawConn{c}
		s.address = func(m MAC) net.Addr { return &raw.Addr{HardwareAddr: m[:]} }
		return nil
	}
	c, err := packet.Listen(ifi, packet.Raw, int(o.EtherType), &packet.Config{Filter: program})
	if err != nil {
		return err
	}
	if err := setReceiveBuffer(c, o.ReceiveBuffer); err != nil {
		c.Close()
		return fmt.Errorf("set receive buffer of %d bytes: %w", o.ReceiveBuffer, err)
	}
	s.conn = &plainConn{Conn: c}
	s.address = func(m MAC) net.Addr { return &packet.Addr{HardwareAddr: m[:]} }
	return nil
}

// setReceiveBuffer asks beyond net.core.rmem_max first, which takes
// CAP_NET_ADMIN in the first user namespace.
func setReceiveBuffer(c *packet.Conn, size int) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = rc.Control(func(fd uintptr) {
		inner = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size)
		if inner != nil {
			inner = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, size)
		}
	})
	return errors.Join(err, inner)
}

// join makes the interface take frames to the groups. The memberships belong
// to a second socket, as raw has no JoinGroup; protocol 0 keeps it silent. A
// failure leaves the port deaf to groups but not to broadcast.
func (s *socket) join(ifi *net.Interface, groups []MAC) {
	if len(groups) == 0 {
		return
	}
	c, err := packet.Listen(ifi, packet.Datagram, 0, nil)
	if err != nil {
		s.deaf = true
		return
	}
	for _, g := range groups {
		if err := c.JoinGroup(g[:]); err != nil {
			s.deaf = true
		}
	}
	s.members = c
}

// set takes over the interface's address and MTU, now and when they change.
func (s *socket) set(mac MAC, mtu int) {
	s.mac.Store(&mac)
	s.mtu.Store(int32(min(mtu, MaxMTU)))
}

// fail ends the port with ErrDown and wakes a Receive that blocks.
func (s *socket) fail() {
	s.down.Store(true)
	s.conn.SetReadDeadline(time.Unix(1, 0))
}

func (s *socket) MAC() MAC { return *s.mac.Load() }
func (s *socket) MTU() int { return int(s.mtu.Load()) }

func (s *socket) Send(dst MAC, payload []byte) error {
	if err := checkLength(payload, s.MTU()); err != nil {
		return err
	}
	b := s.frames.Get().(*[BufferSize]byte)
	defer s.frames.Put(b)
	src := s.MAC()
	copy(b[0:], dst[:])
	copy(b[6:], src[:])
	binary.BigEndian.PutUint16(b[12:], s.etherType)
	n := headerSize + copy(b[headerSize:], payload)

	s.conn.SetWriteDeadline(time.Now().Add(sendPatience))
	_, err := s.conn.WriteTo(b[:n], s.address(dst))
	s.conn.SetWriteDeadline(time.Time{}) // no timer is left to wake an idle process
	switch {
	case err == nil:
		s.sent.Add(1)
		return nil
	case errors.Is(err, unix.ENOBUFS), errors.Is(err, os.ErrDeadlineExceeded):
		s.lost.Add(1)
		return nil
	}
	return s.error("send frame", err)
}

func (s *socket) Receive(buf []byte) (Frame, error) {
	b := buf
	if len(b) < BufferSize {
		b = make([]byte, BufferSize)
	}
	for {
		n, _, err := s.conn.ReadFrom(b)
		if err != nil {
			return Frame{}, s.error("receive frame", err)
		}
		if n < headerSize {
			s.refused.Add(1)
			continue
		}
		f := Frame{Dst: MAC(b[0:6]), Src: MAC(b[6:12]), Payload: b[headerSize:n]}
		// The filter refused group sources. Our own address as the source is
		// a loop in the network, or a forgery.
		if f.Src == s.MAC() || IsGroup(f.Src) {
			s.refused.Add(1)
			continue
		}
		if len(buf) < BufferSize {
			f.Payload = buf[:copy(buf, f.Payload)]
		}
		s.received.Add(1)
		return f, nil
	}
}

func (s *socket) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	err := s.conn.Close()
	if s.members != nil {
		err = errors.Join(err, s.members.Close())
	}
	return err
}

// Counters say what became of frames so far.
func (s *socket) Counters() Counters {
	c := Counters{
		Sent: s.sent.Load(), Received: s.received.Load(),
		Dropped: s.lost.Load(), Refused: s.refused.Load(), Deaf: s.deaf,
	}
	// Some kernels, and qemu, don't answer PACKET_STATISTICS.
	if _, dropped, err := s.conn.counters(); err == nil {
		c.Dropped += dropped
	}
	return c
}

// error puts an error into the words of Port.
func (s *socket) error(what string, err error) error {
	switch {
	case s.closed.Load():
		return net.ErrClosed
	case s.down.Load():
		return fmt.Errorf("%s on %s: %w", what, s.name, ErrDown)
	}
	return fmt.Errorf("%s on %s: %w", what, s.name, sentinel(err))
}

// sentinel adds ErrDown to an error that says that an interface is down
// (ENETDOWN) or away (ENODEV, ENXIO).
func sentinel(err error) error {
	if errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("%w: %w", ErrDown, err)
	}
	return err
}

// rawConn is a raw.Conn, which adds its counters up itself.
type rawConn struct{ *raw.Conn }

func (c rawConn) counters() (received, dropped uint64, err error) {
	st, err := c.Stats()
	if err != nil {
		return 0, 0, err
	}
	return st.Packets, st.Drops, nil
}

// plainConn is a packet.Conn, whose counters start anew when they are read.
type plainConn struct {
	*packet.Conn
	received, dropped atomic.Uint64
}

func (c *plainConn) counters() (received, dropped uint64, err error) {
	st, err := c.Stats()
	if err != nil {
		return 0, 0, err
	}
	return c.received.Add(uint64(st.Packets)), c.dropped.Add(uint64(st.Drops)), nil
}
