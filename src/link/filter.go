package link

import "golang.org/x/net/bpf"

// Packet types of packet(7), as BPF's extension "type" answers them.
const (
	packetOtherHost = 3 // to another station's address, or of a tagged VLAN
	packetOutgoing  = 4 // our own, looped back to packet sockets
)

// filter passes frames of one EtherType that are for us: not those for another
// host, which is also what a bridge calls frames of tagged VLANs that it hands
// us untagged, not our own on their way out, none from a group address, which
// no station has (IEEE 802-2014, 8.2), and none longer than a frame may be.
func filter(etherType uint16) ([]bpf.RawInstruction, error) {
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: packetOtherHost, SkipTrue: 8},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: packetOutgoing, SkipTrue: 7},
		bpf.LoadAbsolute{Off: 6, Size: 1}, // first byte of the source
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 1, SkipTrue: 5},
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(etherType), SkipTrue: 3},
		bpf.LoadExtension{Num: bpf.ExtLen},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: BufferSize, SkipTrue: 1},
		bpf.RetConstant{Val: BufferSize},
		bpf.RetConstant{Val: 0},
	})
}

// arpFilter passes ARP for Ethernet and IPv4 (RFC 826), hardware type 1 and
// addresses of 6 and 4 bytes, and no more of it than a packet has.
func arpFilter() ([]bpf.RawInstruction, error) {
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: packetOtherHost, SkipTrue: 8},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: packetOutgoing, SkipTrue: 7},
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherTypeARP, SkipTrue: 5},
		bpf.LoadAbsolute{Off: headerSize, Size: 4}, // hardware and protocol type
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: arpTypes, SkipTrue: 3},
		bpf.LoadAbsolute{Off: headerSize + 4, Size: 2}, // address lengths
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: arpLengths, SkipTrue: 1},
		bpf.RetConstant{Val: headerSize + arpSize},
		bpf.RetConstant{Val: 0},
	})
}
