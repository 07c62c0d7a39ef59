package link

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// An ARP packet for Ethernet and IPv4 (RFC 826):
//
//	0  2 hardware type 1       8  6 sender hardware address
//	2  2 protocol type 0x0800  14 4 sender protocol address
//	4  1 hardware length 6     18 6 target hardware address
//	5  1 protocol length 4     24 4 target protocol address
//	6  2 operation             28
const (
	etherTypeARP = 0x0806
	arpSize      = 28
	arpTypes     = 1<<16 | 0x0800
	arpLengths   = 6<<8 | 4
	arpRequest   = 1
	arpReply     = 2
)

var errARP = errors.New("not an ARP packet for Ethernet and IPv4")

// arp is an ARP packet.
type arp struct {
	operation          uint16
	sender, target     MAC
	senderIP, targetIP netip.Addr // IPv4
}

// parseARP reads the payload of a frame; padding may follow the packet.
func parseARP(b []byte) (arp, error) {
	if len(b) < arpSize || binary.BigEndian.Uint32(b) != arpTypes || binary.BigEndian.Uint16(b[4:]) != arpLengths {
		return arp{}, errARP
	}
	return arp{
		operation: binary.BigEndian.Uint16(b[6:]),
		sender:    MAC(b[8:14]), senderIP: netip.AddrFrom4([4]byte(b[14:18])),
		target: MAC(b[18:24]), targetIP: netip.AddrFrom4([4]byte(b[24:28])),
	}, nil
}

// append writes the packet as parseARP reads it.
func (a arp) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, arpTypes)
	b = binary.BigEndian.AppendUint16(b, arpLengths)
	b = binary.BigEndian.AppendUint16(b, a.operation)
	b = append(b, a.sender[:]...)
	sip, tip := a.senderIP.As4(), a.targetIP.As4()
	b = append(b, sip[:]...)
	b = append(b, a.target[:]...)
	return append(b, tip[:]...)
}
