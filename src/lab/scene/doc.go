// Package scene is a home in which homeconf itself runs: the real binary on the
// hosts of a lab, with the real daemons around it, and the proofs that it did
// what it says, each taken from outside of it. The demo plays in it, and so do
// the tests that need several processes.
package scene
