// SPDX-License-Identifier: GPL-2.0

// A web server and its clients, timers, processes and the garbage collector.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
)

func check(what string, good bool) {
	if !good {
		fmt.Println("failed:", what)
		os.Exit(1)
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check("listen", err == nil)
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s", r.URL.Query().Get("n"))
	}))
	var group sync.WaitGroup
	var lock sync.Mutex
	good := 0
	for i := 0; i < 80; i++ {
		group.Add(1)
		go func(n int) {
			defer group.Done()
			reply, err := http.Get(fmt.Sprintf("http://%s/?n=%d", listener.Addr(), n))
			if err != nil {
				return
			}
			body, _ := io.ReadAll(reply.Body)
			reply.Body.Close()
			lock.Lock()
			defer lock.Unlock()
			if string(body) == fmt.Sprintf("hello %d", n) {
				good++
			}
		}(i)
	}
	group.Wait()
	check("http", good == 80)

	// The scheduler preempts a loop by a signal.
	done := make(chan bool)
	go func() {
		time.Sleep(20 * time.Millisecond)
		done <- true
	}()
	for spinning := true; spinning; {
		select {
		case <-done:
			spinning = false
		default:
		}
	}
	keep := make([][]byte, 0)
	for i := 0; i < 200; i++ {
		keep = append(keep, make([]byte, 100000))
		if i%20 == 0 {
			runtime.GC()
			keep = keep[:0]
		}
	}
	notified := make(chan os.Signal, 1)
	signal.Notify(notified, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	check("signal", <-notified == syscall.SIGUSR1)
	output, err := exec.Command("/bin/sh", "-c", "echo $((6 * 7))").Output()
	check("command", err == nil && string(output) == "42\n")
	func() {
		defer func() { check("recover", recover() != nil) }()
		var pointer *int
		*pointer = 1
	}()
	fmt.Println("all passed")
}
