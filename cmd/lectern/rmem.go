package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
)

const rmemHelp = `Say what receive buffers the kernel grants, or raise them.

Usage:

  lectern rmem [--config FILE]
  lectern rmem --raise SIZE
  lectern rmem --wait

The first compares net.core.rmem_max, the most that the kernel grants a process
without CAP_NET_ADMIN, with listen.receive_buffer.

Flags:

  --raise SIZE     make net.core.rmem_max SIZE, such as 8MiB, where it is less; it
                   is never lowered. It belongs to the whole machine and wants
                   root, and on Kubernetes a privileged container on the network
                   of the node. Daemons that run keep the buffers they have
  --wait           do nothing until told to go: for the container beside it that a
                   DaemonSet has to have
  --config FILE    the configuration to compare with (default ./config.toml, and
                   where there is none the built-in defaults)

Exit status: 0 when the kernel grants it all; 1 when it does not, or it could not
be raised; 2 when the arguments make no sense.
`

// rmemMax is where Linux has net.core.rmem_max.
const rmemMax = "/proc/sys/net/core/rmem_max"

// runRmem is `lectern rmem`.
func (p *process) runRmem(ctx context.Context, args []string) int {
	flags := newFlags("rmem")
	path := flags.String("config", "", "")
	raise := flags.String("raise", "", "")
	wait := flags.Bool("wait", false, "")
	if code, done := p.parse(flags, args, rmemHelp); done {
		return code
	}
	switch {
	case *wait && flags.NFlag() > 1 || flags.Changed("raise") && flags.Changed("config"):
		return p.usage("rmem", errors.New("--raise, --wait and --config do not go together"))
	case *wait:
		<-ctx.Done()
		return 0
	case flags.Changed("raise"):
		want, err := config.ParseSize(*raise)
		if err != nil || want <= 0 {
			return p.usage("rmem", fmt.Errorf("--raise %q is not a size, such as 8MiB", *raise))
		}
		said, err := raiseRmem(rmemMax, want)
		if err != nil {
			return p.fail("rmem", err)
		}
		return p.print("rmem", said)
	}
	c, ok := p.load(flags, *path)
	if !ok {
		return 1
	}
	have, err := readRmem(rmemMax)
	if err != nil {
		return p.fail("rmem", err)
	}
	want := int64(c.Listen.ReceiveBuffer)
	if have < want {
		return p.fail("rmem", fmt.Errorf("net.core.rmem_max is %s, less than listen.receive_buffer %s; as root: lectern rmem --raise %s",
			config.FormatSize(have), config.FormatSize(want), config.FormatSize(want)))
	}
	return p.print("rmem", fmt.Sprintf("net.core.rmem_max is %s; listen.receive_buffer asks for %s\n", config.FormatSize(have), config.FormatSize(want)))
}

// readRmem reads the number of bytes in a file of /proc/sys.
func readRmem(file string) (int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("read net.core.rmem_max, which the network of a pod does not have and Linux alone knows: %w", err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s does not hold a number: %w", file, err)
	}
	return n, nil
}

// raiseRmem sees to it that the file of /proc/sys has at least want bytes, and
// says what it did.
func raiseRmem(file string, want int64) (said string, err error) {
	have, err := readRmem(file)
	if err != nil {
		return "", err
	}
	if have >= want {
		return fmt.Sprintf("net.core.rmem_max is %s: nothing to do\n", config.FormatSize(have)), nil
	}
	if err := os.WriteFile(file, []byte(strconv.FormatInt(want, 10)+"\n"), 0); err != nil {
		return "", fmt.Errorf("raise net.core.rmem_max from %s to %s; it wants root, and the network of the machine: %w",
			config.FormatSize(have), config.FormatSize(want), err)
	}
	if have, err = readRmem(file); err != nil || have < want {
		return "", fmt.Errorf("net.core.rmem_max was to be %s and is %s (%v)", config.FormatSize(want), config.FormatSize(have), err)
	}
	return fmt.Sprintf("net.core.rmem_max was raised to %s\n", config.FormatSize(have)), nil
}
