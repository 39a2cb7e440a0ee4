# Threads, fibers, children and a trap of its own.
got = 0
trap(:USR1) { got += 1 }
words = (0...30_000).map { |i| "word#{i * 7919 % 30_011}" }
threads = 4.times.map { |n| Thread.new { words.select { |w| w.hash || n }.map(&:upcase).sort.length } }
puts threads.map(&:value).inspect
puts 200.times.map { |i| Fiber.new { Fiber.yield i; i * 2 } }.map { |f| f.resume + f.resume }.sum
reader, writer = IO.pipe
pid = fork { writer.puts words.uniq.length; exit!(3) }
Process.wait(pid)
writer.close
puts reader.read, $?.exitstatus
puts `printf '%s\\n' c a b | sort`
Process.kill(:USR1, Process.pid)
sleep 0.01 until got == 1
GC.start
puts words.tally.length, got
