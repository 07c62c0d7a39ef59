package link

import (
	"bytes"
	"net/netip"
	"testing"
)

func FuzzParseARP(f *testing.F) {
	whole := arp{
		operation: arpReply, sender: MAC{2, 0, 0, 0, 0, 1}, target: MAC{2, 0, 0, 0, 0, 2},
		senderIP: netip.MustParseAddr("192.168.1.1"), targetIP: netip.MustParseAddr("192.168.1.2"),
	}.append(nil)
	f.Add(whole)
	f.Add(append(bytes.Clone(whole), make([]byte, 18)...))
	f.Add(whole[:27])
	f.Add([]byte{})
	for _, i := range []int{0, 1, 2, 4, 5} {
		bad := bytes.Clone(whole)
		bad[i] ^= 0x10
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseARP(b)
		if err != nil {
			if len(b) >= arpSize && bytes.HasPrefix(b, whole[:6]) {
				t.Fatalf("%x refused: %v", b, err)
			}
			return
		}
		if !a.senderIP.Is4() || !a.targetIP.Is4() {
			t.Fatalf("%x: addresses %v, %v", b, a.senderIP, a.targetIP)
		}
		if back := a.append(nil); !bytes.Equal(back, b[:arpSize]) {
			t.Fatalf("%x came back as %x", b, back)
		}
	})
}
