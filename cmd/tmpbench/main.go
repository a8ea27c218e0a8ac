package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/sekexe/sekexe/network/frames"
	"github.com/sekexe/sekexe/network/vswitch"
)

func main() {
	mtu := flag.Int("mtu", 1500, "")
	direct := flag.Bool("direct", false, "")
	kernel := flag.String("kernel", "/usr/bin/linux.uml", "")
	flag.Parse()
	s := vswitch.New(vswitch.Config{MTU: *mtu})
	var guests [2]*os.File
	var ports []*vswitch.Port
	if *direct {
		guests[0], guests[1], _ = frames.Pair()
	} else {
		for i := range 2 {
			ours, theirs, err := frames.Pair()
			if err != nil {
				panic(err)
			}
			guests[i] = theirs
			p, err := s.AttachFile(ours, net.HardwareAddr{2, 0, 0, 0, 0, byte(i + 1)}, false, nil)
			if err != nil {
				panic(err)
			}
			ports = append(ports, p)
		}
	}
	var cmds []*exec.Cmd
	for i, name := range []string{"server", "client"} {
		d, _ := os.MkdirTemp("/tmp/umlb", "u")
		c := exec.Command("taskset", "-c", fmt.Sprint(i), *kernel, "mem=192M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "init=/tmp/umlb/"+name+".sh",
			fmt.Sprintf("vec0:transport=fd,fd=3,mac=02:00:00:00:00:%02x,mtu=%d", i+1, *mtu), fmt.Sprintf("MTU=%d", *mtu), "uml_dir="+d+"/", "umid=u", "con=null", "con0=null,fd:1", "quiet")
		c.ExtraFiles = []*os.File{guests[i]}
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if i == 1 { c.Stdout = os.Stdout }
		if err := c.Start(); err != nil {
			panic(err)
		}
		cmds = append(cmds, c)
	}
	done := make(chan error, 1)
	go func() { done <- cmds[1].Wait() }()
	select {
	case <-done:
	case <-time.After(60 * time.Second):
		fmt.Println("timeout")
	}
	for _, c := range cmds {
		syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
	}
	for _, p := range ports {
		fmt.Println(p.Stats())
	}
	var ru syscall.Rusage
	syscall.Getrusage(0, &ru)
	fmt.Println("cpu", time.Duration(ru.Utime.Nano()), time.Duration(ru.Stime.Nano()))
}
