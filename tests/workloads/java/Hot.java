// Spends its CPU time in one method that HotSpot compiles, for as many seconds as it is told.
public class Hot {
    static long hotLoop(long x) {
        for (int i = 0; i < 100000; i++) x = (x * 31 + i) % 1000003;
        return x;
    }

    public static void main(String[] arguments) {
        long end = System.currentTimeMillis() + Long.parseLong(arguments[0]) * 1000;
        long sink = 1;
        while (System.currentTimeMillis() < end) sink = hotLoop(sink);
        System.out.println(sink);
    }
}
