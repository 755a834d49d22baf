// Asks RE2/J, which Kafka takes for subscriptions, about each expression on its standard input. Writes
// "VERDICT TAB EXPRESSION": for each of the names below whether all of it matches (1 or 0), or "error".
//
//   cut -f2 re2j-1.8.txt | java -cp re2j-1.8.jar Golden.java
import com.google.re2j.Pattern;
import com.google.re2j.PatternSyntaxException;
import java.io.*;
import java.nio.charset.StandardCharsets;

public class Golden {
    static final String[] NAMES = {
        "a", "b", "ab", "aab", "abc", "A", "B", "AB", "k", "s", "0", "9", "_", "-", ".", "a.b", "a-b", "a_b", "E", "Q",
        "aa", "aaa", "0a", "ba", "a0", "x-a", "rx.c-7", "n", "t",
    };

    public static void main(String[] arguments) throws IOException {
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String expression; (expression = in.readLine()) != null; ) {
            StringBuilder verdict = new StringBuilder();
            try {
                Pattern pattern = Pattern.compile(expression);
                for (String name : NAMES) verdict.append(pattern.matcher(name).matches() ? '1' : '0');
            } catch (PatternSyntaxException e) {
                verdict = new StringBuilder("error");
            } catch (RuntimeException e) {
                verdict = new StringBuilder("throws");
            }
            out.println(verdict + "\t" + expression);
        }
        out.flush();
    }
}
