package link_test

import "homeconf/src/link"

var group = link.MAC{0x03, 0x68, 0x63, 0, 0, 1}
