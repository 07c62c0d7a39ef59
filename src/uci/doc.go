// Package uci reads and writes OpenWrt's UCI files: lossless, atomic and locked
// as libuci does it.
//
// A file is kept as the lines it was read as. A change rewrites the lines it
// concerns, in libuci's own form, and leaves every other byte alone: comments,
// order, quoting. What libuci refuses is refused, with line and column.
package uci
