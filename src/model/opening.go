package model

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Protocol is a transport protocol with ports.
type Protocol string

// The protocols.
const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// Port is a port of a protocol, written "443/tcp".
type Port struct {
	Protocol Protocol `json:"Protocol"`
	Number   uint16   `json:"Number"`
}

func (p Port) String() string { return strconv.Itoa(int(p.Number)) + "/" + string(p.Protocol) }

// ParsePort reads "443/tcp".
func ParsePort(s string) (Port, error) {
	number, protocol, _ := strings.Cut(s, "/")
	n, err := strconv.ParseUint(number, 10, 16)
	p := Port{Protocol(protocol), uint16(n)}
	if err != nil || p.String() != s || !p.Valid() {
		return Port{}, fmt.Errorf("port %.40q: want a number from 1 to 65535 and a protocol, such as 443/tcp or 1194/udp", s)
	}
	return p, nil
}

// Valid says whether a packet can have the port.
func (p Port) Valid() bool { return p.Number > 0 && (p.Protocol == TCP || p.Protocol == UDP) }

// Opening is a port of the home's outside that leads to a device
// (TR-181 NAT.PortMapping.{i}). The device's record holds it.
type Opening struct {
	ID       string   `json:"ID"`
	Protocol Protocol `json:"Protocol"`
	Port     uint16   `json:"InternalPort"`
	External uint16   `json:"ExternalPort"`
	Reason   string   `json:"Description"`
	Origin   string   `json:"Origin"` // "person", or "agent" where the device asked
	// Start is when it was opened or last renewed, Expires when it ends. Lease
	// is for how long it is renewed while the device is seen; none: never.
	Start   time.Time     `json:"Start"`
	Expires time.Time     `json:"Expires,omitzero"` // zero: it ends only when it is closed
	Lease   time.Duration `json:"LeaseDuration,omitempty"`
	Denied  bool          `json:"Denied,omitempty"`   // a person said no to the device's wish
	Unasked bool          `json:"Restored,omitempty"` // it came from a backup, and waits for a yes
}

// Inner is the port of the device.
func (o *Opening) Inner() Port { return Port{o.Protocol, o.Port} }

// Outer is the port at which the outside comes in.
func (o *Opening) Outer() Port { return Port{o.Protocol, o.External} }

// OpeningID names what leads from an outer port to a device's: the same, asked
// for again, is the same opening.
func OpeningID(id DeviceID, inner Port, external uint16) string {
	sum := sha256.Sum256([]byte(string(id) + " " + inner.String() + " " + strconv.Itoa(int(external))))
	return "p" + hex.EncodeToString(sum[:5])
}

// ValidOpeningID says whether s has the form of an opening's id.
func ValidOpeningID(s string) bool {
	return len(s) == 11 && s[0] == 'p' && strings.Trim(s[1:], "0123456789abcdef") == ""
}

// Redirect is an opening in force, as the gateway has it.
type Redirect struct {
	Device   DeviceID   `json:"Device"`
	Protocol Protocol   `json:"Protocol"`
	External uint16     `json:"ExternalPort"`
	Address  netip.Addr `json:"InternalClient"`
	Port     uint16     `json:"InternalPort"`
	Start    time.Time  `json:"Start"`
	Stop     time.Time  `json:"Stop"` // the lock: from then on it takes no new connection
	Reason   string     `json:"Description"`
}

// Outer is the port at which the outside comes in.
func (r *Redirect) Outer() Port { return Port{r.Protocol, r.External} }

// LastStop is the latest moment that a lock can have: iptables-nft takes no
// later date.
var LastStop = time.Date(2038, 1, 19, 0, 0, 0, 0, time.UTC)

// Occupied is a range of ports of the outside that something else has.
type Occupied struct {
	Protocol Protocol `json:"Protocol,omitempty"` // empty: both
	First    uint16   `json:"First"`
	Last     uint16   `json:"Last"`
	By       string   `json:"By"` // in words: "the redirect web of /etc/config/firewall"
}

// Has says whether a port lies in the range.
func (o *Occupied) Has(p Port) bool {
	return (o.Protocol == "" || o.Protocol == p.Protocol) && o.First <= p.Number && p.Number <= o.Last
}
